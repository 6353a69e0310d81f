using System.Text.Json;

namespace ILGpuOptim.Data.Conversations;

/// <summary>Reads conversations from JSON lines: records with <c>messages</c>, or with <c>prompt</c> and <c>completion</c>.</summary>
internal static class ConversationFile
{
    /// <summary>True if a path is a file of conversations: JSON lines whose first record has the fields of one.</summary>
    public static bool Is(string path)
    {
        if (!File.Exists(path) || !DocumentSource.IsJsonLines(path))
            return false;
        (long Number, string Text) first = new DocumentSource().Records(path).FirstOrDefault();
        try
        {
            if (first.Text is null)
                return false;
            using JsonDocument record = JsonDocument.Parse(first.Text);
            return Conversation.IsRecord(record.RootElement);
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>Reads files.</summary>
    /// <param name="paths">The files.</param>
    /// <param name="ignored">Receives the names of fields of records that are not used.</param>
    /// <exception cref="UserException">A line is damaged; the message names the file and the line.</exception>
    public static IReadOnlyList<Conversation> Read(IReadOnlyList<string> paths, ISet<string> ignored)
    {
        var conversations = new List<Conversation>();
        foreach (string path in paths)
        {
            if (!File.Exists(path) || !DocumentSource.IsJsonLines(path))
                throw new UserException($"{path}: the other files hold conversations, but this is no file of JSON lines; train on conversations or on text, not on both");
            foreach ((long number, string line) in new DocumentSource().Records(path))
                conversations.Add(Read(line, $"{path}:{number}", ignored));
        }

        return conversations;
    }

    private static Conversation Read(string line, string place, ISet<string> ignored)
    {
        try
        {
            using JsonDocument record = JsonDocument.Parse(line);
            return Conversation.Read(record.RootElement, place, ignored);
        }
        catch (JsonException e)
        {
            throw new UserException($"{place}: not valid JSON at byte {e.BytePositionInLine + 1}: {e.Message.Split(" LineNumber:")[0].TrimEnd('.')}", e);
        }
    }
}
