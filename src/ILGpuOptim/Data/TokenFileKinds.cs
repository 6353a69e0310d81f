using System.Buffers;
using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// Refuses files that are not 16-bit ids. Those have no header, so any file could be read as some. Known formats are told by their first bytes, other
/// widths, byte orders and floating point by what real text never has.
/// </summary>
internal static class TokenFileKinds
{
    private const string GiveTokens = "give a file of tokens", Unpack = "unpack it", WriteIds = "write 16-bit ids, or 32-bit ids with llm.c's header (prepare does both)";

    /// <summary>The first bytes of formats, and what to do.</summary>
    private static readonly (byte[] Start, string Kind, string Remedy)[] Starts =
    [
        ([0x93, .. "NUMPY"u8], "an array of NumPy", "write its ids with tofile, as 16-bit integers"),
        ([.. "PK\u0003\u0004"u8], "a ZIP archive, as PyTorch and NumPy write them", GiveTokens),
        ([0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46], "a model of PyTorch", GiveTokens),
        ([.. "GGUF"u8], "a model of llama.cpp", GiveTokens),
        ([.. "lmgg"u8], "a model of llama.cpp", GiveTokens),
        ([.. "tjgg"u8], "a model of llama.cpp", GiveTokens),
        ([.. "fmgg"u8], "a model of llama.cpp", GiveTokens),
        ([.. "24ka"u8], "a model of llama2.c", GiveTokens),
        ([.. "PAR1"u8], "Parquet", "name it .parquet and turn it into token files with prepare"),
        ([0x89, .. "HDF\r\n"u8], "HDF5", GiveTokens),
        ([.. "ARROW1"u8], "Arrow", GiveTokens),
        ([.. "MMIDIDX"u8], "an index of Megatron", GiveTokens),
        ([.. "SQLite format 3"u8], "a database", GiveTokens),
        ([0x1F, 0x8B, 8, 0], "packed by gzip", Unpack),
        ([0x1F, 0x8B, 8, 8], "packed by gzip", Unpack),
        ([0x28, 0xB5, 0x2F, 0xFD], "packed by zstd", Unpack),
        ([0xFD, .. "7zXZ"u8], "packed by xz", Unpack),
        ([.. "BZh91AY"u8], "packed by bzip2", Unpack),
    ];

    private static readonly SearchValues<byte> TextBytes = SearchValues.Create([9, 10, 13, .. Enumerable.Range(32, 95).Select(code => (byte)code)]);

    /// <summary>Refuses a file without a known header by its first bytes.</summary>
    /// <param name="path">The path, for messages.</param>
    /// <param name="start">The first 1024 bytes, or all.</param>
    /// <param name="bytes">The size of the file.</param>
    /// <exception cref="UserException">It is of another kind.</exception>
    public static void CheckStart(string path, ReadOnlySpan<byte> start, long bytes)
    {
        const int Evidence = 64;
        GitLfs.Check(path, start);
        foreach ((byte[] first, string kind, string remedy) in Starts)
        {
            if (start.StartsWith(first))
                throw new UserException($"{path}: the file is {kind}, not token ids; {remedy}");
        }

        if (start.Length >= sizeof(ulong) + 2 && start[8] == '{' && start[9] is (byte)'"' or (byte)'}' && BinaryPrimitives.ReadUInt64LittleEndian(start) is >= 2 and var header && header <= (ulong)bytes - 8)
            throw new UserException($"{path}: the file is safetensors, not token ids; {GiveTokens}");
        if (start.Length >= Evidence && start.IndexOfAnyExcept(TextBytes) < 0)
            throw new UserException($"{path}: the file is text, not token ids; name it .txt, or turn it into token files with prepare");
        if (start.Length < TokenFile.HeaderBytes)
            return;
        int magic = BinaryPrimitives.ReadInt32LittleEndian(start), reversed = BinaryPrimitives.ReverseEndianness(magic);
        string? other = magic switch
        {
            20240326 => "an llm.c model",
            20240327 => "the state of an llm.c model",
            20240328 => "an llm.c tokenizer",
            20240522 => "of llm.c's multiple-choice questions, which are a task of eval",
            _ when reversed == TokenFile.Magic(TokenFormat.LlmC) || reversed == TokenFile.Magic(TokenFormat.LlmCWide) => "an llm.c file with reversed bytes (big-endian)",
            _ => null,
        };
        if (other is not null)
            throw new UserException($"{path}: the file is {other}, not token ids; {GiveTokens}");
    }

    /// <summary>Refuses other widths, byte orders and floating point by the first ids of a file without a header.</summary>
    /// <exception cref="UserException">The ids are none of 16 bits.</exception>
    public static void CheckIds(string path, TokenSequence tokens)
    {
        const int Evidence = 16, MaxIds = 1 << 16, Tiny = TokenFile.MaxId >> 16, Large = 1 << 10;
        int[] ids = new int[Math.Min(tokens.Length, MaxIds)], largest = new int[2], present = new int[2];
        bool[] isFloat = [true, true];
        tokens.CopyTo(0, ids);
        for (int i = 0; i < ids.Length; i++)
        {
            (int id, int half) = (ids[i], i & 1);
            largest[half] = Math.Max(largest[half], id);
            present[half] += id > 0 ? 1 : 0;

            // The upper halves of 1 to 65536 as f32; those as f64 lie between them.
            isFloat[half] &= id is 0 or (>= 0x3F80 and <= 0x4780);
        }

        // One half of a wider number is at the odd places, or at the even ones if the most significant byte comes first.
        foreach ((int upper, int lower) in ((int, int)[])[(1, 0), (0, 1)])
        {
            if (present[upper] >= Evidence && isFloat[upper] && (largest[lower] == 0 || !isFloat[lower]))
                throw new UserException($"{path}: every second 16-bit id is the upper half of a floating-point number, so the file seems to hold those; {WriteIds}");
        }

        foreach ((int upper, int lower) in ((int, int)[])[(1, 0), (0, 1)])
        {
            if (present[lower] >= Evidence && (largest[upper] == 0 || (largest[upper] < Tiny && largest[lower] > Large)))
            {
                throw new UserException(
                    $"{path}: every second 16-bit id is below {largest[upper] + 1}, so the file seems to hold 32-bit or 64-bit integers without a header{(upper == 0 ? ", with reversed bytes" : "")}; {WriteIds}");
            }
        }

        CheckOrder(path, ids);
    }

    /// <summary>Refuses big-endian ids: the upper bytes of ids stay below those of the vocabulary's size, the lower ones take all values.</summary>
    private static void CheckOrder(string path, int[] ids)
    {
        const int MinIds = 1 << 10, MinDistinct = 64, Margin = 16;
        if (ids.Length >= MinIds && ids.Distinct().Skip(MinDistinct - 1).Any() && ids.Max(id => id & 255) + Margin < ids.Max(id => id >> 8))
            throw new UserException($"{path}: the bytes of the 16-bit ids seem to be reversed (big-endian); write them with the least significant byte first");
    }
}
