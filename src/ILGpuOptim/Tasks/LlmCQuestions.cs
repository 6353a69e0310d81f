using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tasks;

/// <summary>
/// llm.c's files of multiple-choice questions, little-endian: a header of 256 32-bit integers (magic 20240522, version 1, the number of questions, the bytes of
/// the longest), then for each question 16-bit integers: 65535, its bytes, its index, the answer, the number of choices, and for the context and each choice the
/// number of tokens and the tokens.
/// </summary>
internal static class LlmCQuestions
{
    /// <summary>The first integer.</summary>
    public const int Magic = 20240522;

    private const int HeaderBytes = 1024, Start = ushort.MaxValue;
    private const long MaxFileBytes = 1L << 30;

    /// <summary>Reads all questions.</summary>
    /// <exception cref="UserException">The file is damaged or of another kind.</exception>
    public static IReadOnlyList<EncodedItem> Read(string path)
    {
        byte[] file = SourceFile.ReadAllBytes(path, MaxFileBytes, "it is not a file of questions");
        GitLfs.Check(path, file);
        if (file.Length < HeaderBytes || BinaryPrimitives.ReadInt32LittleEndian(file) != Magic)
            throw new UserException($"{path}: the file does not contain llm.c's questions (magic {Magic}); token files are data for the loss, not a task");
        if (BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(4)) is var version && version != 1)
            throw new UserException($"{path}: version {version} of llm.c's questions is unknown; only version 1 is read");
        int count = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(8)), longest = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(12));
        if ((file.Length - HeaderBytes) % sizeof(ushort) != 0)
            throw new UserException($"{path}: {file.Length:N0} bytes are not a whole number of 16-bit integers; the file was cut short");
        var values = new ushort[(file.Length - HeaderBytes) / sizeof(ushort)];
        for (int i = 0; i < values.Length; i++)
            values[i] = BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(HeaderBytes + i * sizeof(ushort)));
        var items = new List<EncodedItem>();
        ReadOnlySpan<ushort> rest = values;
        int largest = 0;
        for (; !rest.IsEmpty; largest = Math.Max(largest, rest[1]), rest = rest[(rest[1] / sizeof(ushort))..])
            items.Add(Question(path, items.Count, rest));
        if (items.Count != count || largest != longest)
            throw new UserException($"{path}: the header states {count:N0} questions of at most {longest:N0} bytes, but there are {items.Count:N0} of at most {largest:N0}; the file was cut short, make it again");
        return count > 0 ? items : throw new UserException($"{path}: there are no questions; make the file again");
    }

    private static EncodedItem Question(string path, int number, ReadOnlySpan<ushort> rest)
    {
        string place = $"{path}: question {number + 1}";
        if (rest.Length < 5 || rest[0] != Start || rest[2] != (ushort)number || rest[1] % sizeof(ushort) != 0 || rest[1] / sizeof(ushort) > rest.Length || rest[1] < 5 * sizeof(ushort))
            throw new UserException($"{place} does not begin as llm.c's questions do; the file is damaged, make it again");
        int answer = rest[3], choices = rest[4];
        ReadOnlySpan<ushort> tokens = rest[5..(rest[1] / sizeof(ushort))];
        int[] context = Tokens(place, ref tokens);
        var found = new List<EncodedChoice>();
        for (int i = 0; i < choices; i++)
        {
            int[] continuation = Tokens(place, ref tokens);
            found.Add(new EncodedChoice(context, continuation, continuation.Length));
        }

        if (!tokens.IsEmpty || answer >= choices || choices < 2)
            throw new UserException($"{place} has {choices} choices, the answer {answer} and {tokens.Length} numbers too many; the file is damaged, make it again");
        return new EncodedItem(place, found, answer);
    }

    private static int[] Tokens(string place, ref ReadOnlySpan<ushort> rest)
    {
        if (rest.IsEmpty || rest[0] == 0 || rest[0] >= rest.Length)
            throw new UserException($"{place} has a text without tokens, or one that is longer than the question; the file is damaged, make it again");
        int[] tokens = new int[rest[0]];
        for (int i = 0; i < tokens.Length; i++)
            tokens[i] = rest[1 + i];
        rest = rest[(1 + tokens.Length)..];
        return tokens;
    }
}
