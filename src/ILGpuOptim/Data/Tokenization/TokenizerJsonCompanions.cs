using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Applies companion files to a <c>tokenizer.json</c>. Hugging Face's library uses almost only <c>tokenizer.json</c>, but adds missing tokens,
/// and some classes override the normalizer, the pre-tokenizer or the prefix. A setting that would change the tokenizer is refused by name,
/// because the same file would give other ids without its companions.
/// </summary>
internal static class TokenizerJsonCompanions
{
    /// <summary>Classes that override nothing.</summary>
    private static readonly string?[] PlainClasses = [null, "PreTrainedTokenizer"];

    /// <summary>Classes whose prefix depends on <c>add_bos_token</c>.</summary>
    private static readonly string[] StartingClasses = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"];

    /// <summary>Checks the settings, and returns the tokens to add to those of <c>tokenizer.json</c>.</summary>
    /// <param name="companions">The companion files.</param>
    /// <param name="root">The <c>tokenizer.json</c>.</param>
    /// <param name="tokens">Its added tokens.</param>
    /// <param name="model">Its model.</param>
    /// <exception cref="UserException">A companion file contradicts <c>tokenizer.json</c>.</exception>
    public static List<AddedToken> Check(CompanionSettings companions, JsonFields root, IReadOnlyList<AddedToken> tokens, ITokenModel model)
    {
        if (!PlainClasses.Contains(companions.TokenizerClass))
            CheckNormalizer(companions.Fields, root);
        if (companions.TokenizerClass is "LlamaTokenizer" or "CodeLlamaTokenizer" && companions.Fields.Flag("add_prefix_space") is { } begins && begins != PutsSpaceFirst(root))
            throw companions.Fields.Error("add_prefix_space", $"is {Json(begins)}, but tokenizer.json puts {(begins ? "no" : "a")} space before texts (Prepend, Metaspace); make the two agree");
        if (Part(root, "pre_tokenizer", "ByteLevel") is { } bytes)
            Compare(companions.Fields, "add_prefix_space", bytes.Flag("add_prefix_space"), "the pre_tokenizer's add_prefix_space");
        return Missing(companions, tokens, model);
    }

    /// <summary>The prefix according to <c>add_bos_token</c>; null if the post-processor determines it.</summary>
    public static IReadOnlyList<int>? Prefix(CompanionSettings? companions, Func<string, int?> idOf)
    {
        if (companions is null || !StartingClasses.Contains(companions.TokenizerClass) || companions.Fields.Flag("add_bos_token") is not { } adds)
            return null;
        if (!adds)
            return [];
        return companions.SpecialToken("bos_token") is { } token && idOf(token.Content) is { } id ? [id]
            : throw companions.Fields.Error("add_bos_token", "is true, but there is no bos_token; name one or set it to false");
    }

    private static void CheckNormalizer(JsonFields config, JsonFields root)
    {
        if (Part(root, "normalizer", "BertNormalizer") is not { } normalizer)
            return;
        bool? lower = normalizer.Flag("lowercase");
        Compare(config, "do_lower_case", lower, "the normalizer's lowercase");
        Compare(config, "strip_accents", normalizer.Flag("strip_accents") ?? lower, "the normalizer's strip_accents");
        Compare(config, "tokenize_chinese_chars", normalizer.Flag("handle_chinese_chars"), "the normalizer's handle_chinese_chars");
    }

    /// <summary>True if the normalizer or the pre-tokenizer puts a space before texts.</summary>
    private static bool PutsSpaceFirst(JsonFields root) => Steps(root, "normalizer", "normalizers").Any(step => step.Text("type") == "Prepend")
        || Steps(root, "pre_tokenizer", "pretokenizers").Any(step => step.Text("type") switch
        {
            "Metaspace" => step.Text("prepend_scheme") is { } scheme ? scheme != "never" : step.Flag("add_prefix_space") ?? true,
            "ByteLevel" => step.Flag("add_prefix_space") ?? false,
            _ => false,
        });

    /// <summary>The steps of a part of the pipeline, one or a sequence.</summary>
    private static IEnumerable<JsonFields> Steps(JsonFields root, string name, string list) =>
        root.Object(name) is not { } part ? [] : part.Text("type") == "Sequence" ? part.Objects(list) ?? [] : [part];

    /// <summary>A part of the pipeline if it has the type, else null.</summary>
    private static JsonFields? Part(JsonFields root, string name, string type) => root.Object(name) is { } part && part.Text("type") == type ? part : null;

    private static void Compare(JsonFields config, string name, bool? value, string place)
    {
        if (config.Flag(name) is { } wanted && wanted != value)
            throw config.Error(name, $"is {Json(wanted)}, but in tokenizer.json {place} is {(value is { } flag ? Json(flag) : "missing")}; make the two equal");
    }

    private static string Json(bool value) => value ? "true" : "false";

    /// <summary>Added tokens that are missing in <c>tokenizer.json</c>. They have the id of the model's vocabulary, or the next free one.</summary>
    private static List<AddedToken> Missing(CompanionSettings companions, IReadOnlyList<AddedToken> tokens, ITokenModel model)
    {
        var known = tokens.ToDictionary(token => token.Content, token => token.Id);
        var result = new List<AddedToken>();
        int next = Math.Max(model.VocabularySize, tokens.Count == 0 ? 0 : tokens.Max(token => token.Id) + 1);
        foreach ((int? said, AddedTokenSettings token) in companions.Added.Select(pair => ((int?)pair.Key, pair.Value)).Concat(companions.AllSpecial.Select(token => ((int?)null, token))))
        {
            if (token.Content.Length == 0)
                continue;
            bool had = known.TryGetValue(token.Content, out int id);
            if (!had)
                known[token.Content] = id = model.IdOf(token.Content) ?? next++;
            if (said is { } other && other != id)
                throw companions.Fields.Error("added tokens", $"give \"{token.Content}\" the id {other}, but with tokenizer.json it is {id}; make the two equal");
            if (!had)
                result.Add(token.ToAdded(id));
        }

        return result;
    }
}
