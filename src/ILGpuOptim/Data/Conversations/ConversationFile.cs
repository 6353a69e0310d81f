using System.Text.Json;

namespace ILGpuOptim.Data.Conversations;

/// <summary>
/// Reads conversations from JSON lines: records with <c>messages</c>, or with <c>prompt</c> and <c>completion</c>; or pairs of them, with <c>chosen</c> and
/// <c>rejected</c>.
/// </summary>
internal static class ConversationFile
{
    /// <summary>True if a path is a file of conversations: JSON lines whose first record has the fields of one.</summary>
    public static bool Is(string path) => HasFirst(path, Conversation.IsRecord);

    /// <summary>True if a path is a file of pairs: JSON lines whose first record has the fields of one.</summary>
    public static bool IsPairs(string path) => HasFirst(path, PreferencePair.IsRecord);

    private static bool HasFirst(string path, Func<JsonElement, bool> isRecord)
    {
        if (!File.Exists(path) || !DocumentSource.IsJsonLines(path))
            return false;
        (long Number, string Text) first = new DocumentSource().Records(path).FirstOrDefault();
        try
        {
            if (first.Text is null)
                return false;
            using JsonDocument record = JsonDocument.Parse(first.Text);
            return isRecord(record.RootElement);
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>Reads files of conversations.</summary>
    /// <param name="paths">The files.</param>
    /// <param name="ignored">Receives the names of fields of records that are not used.</param>
    /// <exception cref="UserException">A line is damaged; the message names the file and the line.</exception>
    public static IReadOnlyList<Conversation> Read(IReadOnlyList<string> paths, ISet<string> ignored) =>
        [.. Read(paths, "conversations", (record, place) => Conversation.Read(record, place, ignored))];

    /// <summary>Reads files of pairs: the chosen conversation of each, and the rejected one after it.</summary>
    /// <inheritdoc cref="Read(IReadOnlyList{string}, ISet{string})"/>
    public static IReadOnlyList<Conversation> ReadPairs(IReadOnlyList<string> paths, ISet<string> ignored) =>
        [.. Read(paths, "pairs of answers", (record, place) => PreferencePair.Read(record, place, ignored)).SelectMany(pair => (Conversation[])[pair.Chosen, pair.Rejected])];

    private static IEnumerable<T> Read<T>(IReadOnlyList<string> paths, string kind, Func<JsonElement, string, T> read)
    {
        foreach (string path in paths)
        {
            if (!File.Exists(path) || !DocumentSource.IsJsonLines(path))
                throw new UserException($"{path}: the other files hold {kind}, but this is no file of JSON lines; train on {kind} or on text, not on both");
            foreach ((long number, string line) in new DocumentSource().Records(path))
                yield return Read(line, $"{path}:{number}", read);
        }
    }

    private static T Read<T>(string line, string place, Func<JsonElement, string, T> read)
    {
        try
        {
            using JsonDocument record = JsonDocument.Parse(line);
            return read(record.RootElement, place);
        }
        catch (JsonException e)
        {
            throw new UserException($"{place}: not valid JSON at byte {e.BytePositionInLine + 1}: {e.Message.Split(" LineNumber:")[0].TrimEnd('.')}", e);
        }
    }
}
