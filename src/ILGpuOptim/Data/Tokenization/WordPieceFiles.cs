using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads WordPiece from <c>vocab.txt</c> (BERT), one token per line, with Hugging Face's companion files.</summary>
internal static class WordPieceFiles
{
    /// <summary>The supported classes, which behave alike.</summary>
    private static readonly string[] Classes =
        ["BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer", "ConvBertTokenizer", "PreTrainedTokenizer"];

    /// <summary>Opens a tokenizer.</summary>
    /// <param name="path">The path of the vocabulary.</param>
    /// <param name="files">All files of the tokenizer, the vocabulary first.</param>
    /// <exception cref="UserException">A file is damaged, or has an unsupported setting.</exception>
    public static PipelineTokenizer Open(string path, IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        string folder = Path.GetDirectoryName(path)!;
        CompanionSettings settings = CompanionSettings.Read(folder, files) ?? CompanionSettings.None(folder);
        JsonFields fields = settings.Fields;
        if (settings.TokenizerClass is { } name && !Classes.Contains(name))
            throw fields.Error("tokenizer_class", $"is {name}, whose word splitting is not supported; {string.Join(", ", Classes)} are. Convert the tokenizer to a tokenizer.json");
        bool lower = fields.Flag("do_lower_case") ?? true, basic = fields.Flag("do_basic_tokenize") ?? true;
        var normalizer = new JsonObject
        {
            ["type"] = "BertNormalizer",
            ["clean_text"] = fields.Flag("clean_text") ?? true,
            ["handle_chinese_chars"] = fields.Flag("tokenize_chinese_chars") ?? true,
            ["strip_accents"] = fields.Flag("strip_accents") ?? lower,
            ["lowercase"] = lower,
        };
        string prefix = fields.Text("wordpieces_prefix") ?? "##";
        fields.Only("never_split", value => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0, "words that are never split are not supported; make them added tokens");
        fields.Ignore("init_inputs");
        fields.Finish();

        Dictionary<string, int> tokens = Tokens(files[0].Contents, path);
        var vocabulary = new Vocabulary(tokens, path);
        INormalizer? bertNormalizer = basic ? Normalizers.Read(Parse(normalizer, path)) : null;
        AddedTokens added = settings.AddedTokensOf(ClassTokens.Bert, vocabulary, bertNormalizer);
        string unknown = settings.SpecialToken("unk_token")?.Content ?? "[UNK]", begin = settings.SpecialToken("cls_token")?.Content ?? "[CLS]";
        return new PipelineTokenizer("wordpiece", new WordPieceModel(vocabulary, unknown, prefix), files)
        {
            Added = added,
            Normalizer = bertNormalizer,
            PreTokenizer = PreTokenizers.Read(Parse(new() { ["type"] = basic ? "BertPreTokenizer" : "WhitespaceSplit" }, path)),
            Decoder = new WordPieceDecoder(prefix, cleanup: true),
            PromptPrefix = added.IdOf(begin) is { } id ? [id] : [],
        };
    }

    private static JsonFields Parse(JsonObject value, string path) => JsonFields.Parse(Encoding.UTF8.GetBytes(value.ToJsonString()), path);

    /// <summary>The ids of tokens, which are line numbers from 0. The last of equal tokens is used, as in Hugging Face's library.</summary>
    private static Dictionary<string, int> Tokens(byte[] contents, string path)
    {
        string[] lines = BytePairFiles.TextOf(contents, path).Split('\n');
        // The line end of the last line does not begin another one.
        int count = lines[^1].Length == 0 ? lines.Length - 1 : lines.Length;
        var tokens = new Dictionary<string, int>(count);
        for (int id = 0; id < count; id++)
            tokens[lines[id].TrimEnd('\r')] = id;
        return tokens;
    }
}
