using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Reads byte-level BPE from <c>vocab.json</c> and <c>merges.txt</c> (GPT-2 and derived models), with Hugging Face's companion files. The
/// tokenizer class determines how text is split into words.
/// </summary>
internal static class BytePairFiles
{
    /// <summary>Qwen 2's word-splitting pattern, in Oniguruma's syntax.</summary>
    public const string Qwen2Words = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>The defaults of a Hugging Face tokenizer class.</summary>
    /// <param name="Special">Special tokens by attribute, unless a file names others.</param>
    /// <param name="Words">The word-splitting pattern; null for GPT-2's.</param>
    /// <param name="Composes">Normalizes text to NFC.</param>
    /// <param name="BeginsWithClass">Texts begin with the class token.</param>
    private sealed record Family(IReadOnlyDictionary<string, AddedTokenSettings> Special, string? Words = null, bool Composes = false, bool BeginsWithClass = false);

    private static readonly Family Gpt2 = new(ClassTokens.Gpt2), Roberta = new(ClassTokens.Roberta, BeginsWithClass: true), Qwen2 = new(ClassTokens.Qwen2, Qwen2Words, Composes: true);

    private static readonly Dictionary<string, Family> Families = new()
    {
        ["GPT2Tokenizer"] = Gpt2,
        ["CodeGenTokenizer"] = Gpt2,
        ["PreTrainedTokenizer"] = Gpt2,
        ["RobertaTokenizer"] = Roberta,
        ["LongformerTokenizer"] = Roberta,
        ["BartTokenizer"] = Roberta,
        ["Qwen2Tokenizer"] = Qwen2,
    };

    /// <summary>Opens a tokenizer.</summary>
    /// <param name="path">The path of <c>vocab.json</c>.</param>
    /// <param name="files">All files of the tokenizer, the vocabulary first.</param>
    /// <exception cref="UserException">A file is damaged or missing, or has an unsupported setting.</exception>
    public static PipelineTokenizer Open(string path, IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        string folder = Path.GetDirectoryName(path)!, mergesPath = Path.Combine(folder, TokenizerFiles.Merges);
        byte[] mergesFile = files.FirstOrDefault(file => file.Name == TokenizerFiles.Merges).Contents
            ?? throw new UserException($"{path}: {TokenizerFiles.Merges} is missing beside it");
        var vocabulary = new Vocabulary(Entries(JsonFields.Parse(files[0].Contents, path)), path);
        var model = new BytePairModel(vocabulary, Merges(mergesFile, mergesPath), new BytePairOptions(), mergesPath);

        CompanionSettings settings = CompanionSettings.Read(folder, files) ?? CompanionSettings.None(folder);
        JsonFields fields = settings.Fields;
        string name = settings.TokenizerClass ?? "GPT2Tokenizer";
        if (!Families.TryGetValue(name, out Family? family))
            throw fields.Error("tokenizer_class", $"is {name}, whose word splitting is not supported; {string.Join(", ", Families.Keys)} are. Convert the tokenizer to a tokenizer.json");
        bool addPrefixSpace = fields.Flag("add_prefix_space") ?? false, addBegin = fields.Flag("add_bos_token") ?? false;
        // No token is appended to a text; see docs/tokenizers.md.
        fields.Ignore("add_eos_token", "trim_offsets", "init_inputs");
        fields.Finish();

        INormalizer? composes = family.Composes ? Normalizers.Read(JsonFields.Parse("""{"type": "NFC"}"""u8.ToArray(), path)) : null;
        AddedTokens added = settings.AddedTokensOf(family.Special, vocabulary, composes);
        string? begin = family.BeginsWithClass ? "cls_token" : addBegin ? "bos_token" : null;
        IPreTokenizer bytes = PreTokenizers.ByteLevel(addPrefixSpace, useRegex: family.Words is null);
        return new PipelineTokenizer("bpe", model, files)
        {
            Added = added,
            Normalizer = composes,
            PreTokenizer = family.Words is null ? bytes : PreTokenizers.InOrder([PreTokenizers.Isolated(family.Words), bytes]),
            WordPatterns = addPrefixSpace ? null : [family.Words ?? PreTokenizers.Gpt2],
            Decoder = new ByteLevelDecoder(),
            PromptPrefix = begin is not null && settings.SpecialToken(begin) is { } token && added.IdOf(token.Content) is { } id ? [id] : [],
        };
    }

    private static IEnumerable<KeyValuePair<string, int>> Entries(JsonFields vocabulary) => vocabulary.Names.Select(token => KeyValuePair.Create(token, vocabulary.RequiredInt(token)));

    /// <summary>The merges: two tokens per line, after a version line.</summary>
    private static List<(string Left, string Right)> Merges(byte[] contents, string path)
    {
        var merges = new List<(string, string)>();
        int number = 0;
        foreach (string ended in TextOf(contents, path).Split('\n'))
        {
            number++;
            string line = ended.TrimEnd('\r');
            if (line.Length == 0 || line.StartsWith("#version", StringComparison.Ordinal))
                continue;
            if (line.Split(' ') is not [{ Length: > 0 } left, { Length: > 0 } right])
                throw new UserException($"{path}: line {number} is not two tokens separated by a space; download the file again");
            merges.Add((left, right));
        }

        return merges;
    }

    /// <summary>The text of a file, without its byte order mark.</summary>
    /// <exception cref="UserException">It is not UTF-8.</exception>
    public static string TextOf(ReadOnlySpan<byte> contents, string path)
    {
        if (contents.StartsWith(Encoding.UTF8.Preamble))
            contents = contents[Encoding.UTF8.Preamble.Length..];
        try
        {
            return Utf8.GetString(contents);
        }
        catch (DecoderFallbackException e)
        {
            throw new UserException($"{path}: byte {e.Index:N0} is not UTF-8; save the file as UTF-8", e);
        }
    }
}
