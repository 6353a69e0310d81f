using System.IO.Compression;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Unicode 16.0 properties of code points. .NET's own tables depend on its version, and its normalization needs a native library.
/// <c>unicode.bin</c> is written by <c>make-unicode.py</c>, which describes the format.
/// </summary>
internal static class UnicodeData
{
    private const byte AlphabeticFlag = 1, UppercaseFlag = 2, LowercaseFlag = 4, WhiteSpaceFlag = 8, JoinControlFlag = 16;

    private static readonly string[] CategoryNames, ScriptNameTable;
    private static readonly Version?[] Versions;
    private static readonly CodePointMap Categories, Scripts, Ages, Classes, Flags;
    private static readonly Dictionary<int, int> Lower, Fold;

    static UnicodeData()
    {
        using Stream stream = typeof(UnicodeData).Assembly.GetManifestResourceStream("unicode.bin")!;
        using var zlib = new ZLibStream(stream, CompressionMode.Decompress);
        var contents = new MemoryStream();
        zlib.CopyTo(contents);
        var reader = new Reader(contents.ToArray());
        CategoryNames = reader.Names();
        ScriptNameTable = reader.Names();
        Versions = [.. reader.Names().Select(name => Version.TryParse(name, out Version? version) ? version : null)];
        Categories = reader.Runs();
        Scripts = reader.Runs();
        Ages = reader.Runs();
        Classes = reader.Runs();
        Flags = reader.Runs();
        Lower = reader.Simple();
        Fold = reader.Simple();
        FullFoldings = reader.Several(static r => r.Characters());
        Decompositions = reader.Decompositions();
        CompositionExclusions = reader.Points();
    }

    /// <summary>The names of all scripts, as in Scripts.txt; "Unknown" is the script of all other code points.</summary>
    public static IReadOnlyList<string> ScriptNames => ScriptNameTable;

    /// <summary>Case foldings to more than one code point.</summary>
    public static IReadOnlyDictionary<int, int[]> FullFoldings { get; }

    /// <summary>One-step decompositions; compatibility decompositions are marked. Hangul syllables are decomposed by rule and not listed.</summary>
    public static IReadOnlyDictionary<int, (bool Compatible, int[] Parts)> Decompositions { get; }

    /// <summary>Code points that are excluded from composition.</summary>
    public static IReadOnlySet<int> CompositionExclusions { get; }

    /// <summary>Simple case foldings of the code points that change.</summary>
    public static IReadOnlyDictionary<int, int> SimpleFoldings => Fold;

    /// <summary>The general category, such as "Lu"; "Cn" if the code point was not assigned in the version.</summary>
    /// <param name="codePoint">The code point.</param>
    /// <param name="version">The Unicode version; null for the newest in the table.</param>
    public static string Category(int codePoint, Version? version = null) => IsAssigned(codePoint, version) ? CategoryNames[Categories[codePoint]] : "Cn";

    /// <summary>The script, such as "Latin"; "Unknown" if the code point was not assigned in the version.</summary>
    public static string Script(int codePoint, Version? version = null) => IsAssigned(codePoint, version) ? ScriptNameTable[Scripts[codePoint]] : "Unknown";

    /// <summary>True if a code point was assigned (or a noncharacter) in a version; null: the newest.</summary>
    public static bool IsAssigned(int codePoint, Version? version = null) => Versions[Ages[codePoint]] is { } age && (version is null || age <= version);

    /// <summary>The canonical combining class; 0 for starters.</summary>
    public static byte CombiningClass(int codePoint) => Classes[codePoint];

    /// <summary>The derived property Alphabetic.</summary>
    public static bool IsAlphabetic(int codePoint) => (Flags[codePoint] & AlphabeticFlag) != 0;

    /// <summary>The derived property Uppercase.</summary>
    public static bool IsUppercase(int codePoint) => (Flags[codePoint] & UppercaseFlag) != 0;

    /// <summary>The derived property Lowercase.</summary>
    public static bool IsLowercase(int codePoint) => (Flags[codePoint] & LowercaseFlag) != 0;

    /// <summary>The property White_Space.</summary>
    public static bool IsWhiteSpace(int codePoint) => codePoint < 0x80
        ? codePoint is ' ' or (>= '\t' and <= '\r') : (Flags[codePoint] & WhiteSpaceFlag) != 0;

    /// <summary>The property Join_Control.</summary>
    public static bool IsJoinControl(int codePoint) => (Flags[codePoint] & JoinControlFlag) != 0;

    /// <summary>The simple lower-case mapping, including the pairs added in Unicode 17.0; the code point itself if it has none.</summary>
    public static int ToLower(int codePoint) => codePoint < 0x80
        ? codePoint is >= 'A' and <= 'Z' ? codePoint | 0x20 : codePoint
        : codePoint is 0xA7CE or 0xA7D2 or 0xA7D4 ? codePoint + 1
        : codePoint is >= 0x16EA0 and <= 0x16EB8 ? codePoint + 0x1B : Lower.GetValueOrDefault(codePoint, codePoint);

    private sealed class Reader(byte[] data)
    {
        private int position;

        public string[] Names() => Repeat(() => string.Concat(Repeat(() => (char)data[position++])));

        public CodePointMap Runs()
        {
            var values = new byte[CodePointSet.Limit];
            int start = 0;
            for (int count = Number(); count > 0; count--)
            {
                start += Number();
                values.AsSpan(start).Fill((byte)Number());
            }

            return new CodePointMap(values);
        }

        public Dictionary<int, int> Simple() => Several(static r => r.Signed(), static (point, difference) => point + difference);

        public Dictionary<int, T> Several<T>(Func<Reader, T> read) => Several(read, static (_, value) => value);

        public HashSet<int> Points() => [.. Several(static _ => true).Keys];

        public int[] Characters() => Repeat(Number);

        public Dictionary<int, (bool Compatible, int[] Parts)> Decompositions() => Several(
            static r =>
            {
                int head = r.Number();
                return (Compatible: (head & 1) != 0, Differences: Repeat(head >> 1, r.Signed));
            },
            static (point, value) => (value.Compatible, value.Differences.Select(difference => point + difference).ToArray()));

        private Dictionary<int, T> Several<TRead, T>(Func<Reader, TRead> read, Func<int, TRead, T> finish)
        {
            var result = new Dictionary<int, T>();
            int point = 0;
            for (int count = Number(); count > 0; count--)
            {
                point += Number();
                result.Add(point, finish(point, read(this)));
            }

            return result;
        }

        private T[] Repeat<T>(Func<T> read) => Repeat(Number(), read);

        private static T[] Repeat<T>(int count, Func<T> read)
        {
            var result = new T[count];
            for (int i = 0; i < count; i++)
                result[i] = read();
            return result;
        }

        private int Signed()
        {
            int value = Number();
            return (value >>> 1) ^ -(value & 1);
        }

        private int Number()
        {
            int result = 0;
            for (int shift = 0; ; shift += 7)
            {
                byte value = data[position++];
                result |= (value & 0x7F) << shift;
                if (value < 0x80)
                    return result;
            }
        }
    }
}
