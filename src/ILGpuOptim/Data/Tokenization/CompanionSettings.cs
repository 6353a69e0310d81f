using System.Globalization;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>An added token, as Hugging Face's companion files describe it.</summary>
/// <param name="Content">The text.</param>
/// <param name="SingleWord">Matches only where no letter or digit is adjacent.</param>
/// <param name="StripLeft">Includes the white space before it.</param>
/// <param name="StripRight">Includes the white space after it.</param>
/// <param name="Normalized">Matches in the normalized text.</param>
/// <param name="Special">A control token, such as end of text.</param>
internal sealed record AddedTokenSettings(string Content, bool SingleWord = false, bool StripLeft = false, bool StripRight = false, bool Normalized = true, bool Special = false)
{
    /// <summary>A special token with default settings.</summary>
    public static AddedTokenSettings SpecialOf(string content) => new(content, Normalized: false, Special: true);

    /// <summary>The token with its id.</summary>
    public AddedToken ToAdded(int id) => new(id, Content) { SingleWord = SingleWord, LeftStrip = StripLeft, RightStrip = StripRight, Normalized = Normalized, Special = Special };

    /// <summary>Reads the object form of a token.</summary>
    /// <param name="token">The object.</param>
    /// <param name="special">Treats the token as special even if it does not state so.</param>
    public static AddedTokenSettings Read(JsonFields token, bool special = false)
    {
        token.Ignore("__type", "id");
        special |= token.Flag("special") ?? false;
        var result = new AddedTokenSettings(token.RequiredText("content"), token.Flag("single_word") ?? false, token.Flag("lstrip") ?? false,
            token.Flag("rstrip") ?? false, token.Flag("normalized") ?? !special, special);
        token.Finish();
        return result;
    }
}

/// <summary>
/// The settings in Hugging Face's companion files (<c>tokenizer_config.json</c>, <c>special_tokens_map.json</c>, <c>added_tokens.json</c>) of a
/// tokenizer. As in that library, <c>added_tokens_decoder</c> of <c>tokenizer_config.json</c> replaces the other two files; an
/// <c>added_tokens.json</c> that contradicts it is refused.
/// </summary>
internal sealed class CompanionSettings
{
    /// <summary>The file names.</summary>
    public const string Config = "tokenizer_config.json", SpecialTokensMap = "special_tokens_map.json", AddedTokens = "added_tokens.json";

    private const string Additional = "additional_special_tokens", Extra = "extra_special_tokens", Decoder = "added_tokens_decoder";

    /// <summary>Attributes that name a special token, in the order in which Hugging Face's library adds them to a vocabulary.</summary>
    private static readonly string[] Attributes = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

    /// <summary>Fields of <c>tokenizer_config.json</c> that do not affect ids.</summary>
    private static readonly string[] IgnoredFields =
    [
        "model_max_length", "max_len", "max_length", "stride", "truncation", "truncation_side", "truncation_strategy", "padding", "padding_side", "pad_to_multiple_of",
        "pad_token_type_id", "pad_token_id", "clean_up_tokenization_spaces", "spaces_between_special_tokens", "chat_template", "default_chat_template", "use_default_system_prompt",
        "response_schema", "name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "merges_file", "model_input_names", "processor_class", "use_fast", "from_slow",
        "verbose", "errors", "backend", "is_local", "local_files_only", "trust_remote_code", "_commit_hash", "return_token_type_ids", "model_specific_special_tokens",
    ];

    private readonly Dictionary<string, AddedTokenSettings> special = [];
    private readonly List<AddedTokenSettings> additional = [];
    private readonly Dictionary<string, AddedTokenSettings> named = [];
    private readonly SortedDictionary<int, AddedTokenSettings> added = [];
    private readonly HashSet<string> plain = [];

    private CompanionSettings(JsonFields config)
    {
        Fields = config;
    }

    /// <summary>The fields of <c>tokenizer_config.json</c>, or of an empty object. The reader of a format reads its own fields, then calls <see cref="JsonFields.Finish"/>.</summary>
    public JsonFields Fields { get; }

    /// <summary>The Hugging Face tokenizer class, without the suffix "Fast"; null if no file names one.</summary>
    public string? TokenizerClass { get; private init; }

    /// <summary>Added tokens by id.</summary>
    public IReadOnlyDictionary<int, AddedTokenSettings> Added => added;

    /// <summary>The special tokens named by the files, in the order in which missing ones are added to a vocabulary.</summary>
    public IEnumerable<AddedTokenSettings> AllSpecial => Attributes.Where(special.ContainsKey).Select(name => special[name]).Concat(additional);

    /// <summary>The token of an attribute such as <c>bos_token</c>; null if no file names one.</summary>
    public AddedTokenSettings? SpecialToken(string attribute) => special.GetValueOrDefault(attribute);

    /// <summary>Reads the companion files among a tokenizer's files.</summary>
    /// <param name="folder">The folder, for messages.</param>
    /// <param name="files">All files of the tokenizer.</param>
    /// <param name="besideWhole">True if the folder has a <c>tokenizer.json</c>, which needs no custom code.</param>
    /// <returns>Null if there is none of the three files.</returns>
    /// <exception cref="UserException">A file is damaged, or two files contradict each other.</exception>
    public static CompanionSettings? Read(string folder, IReadOnlyList<(string Name, byte[] Contents)> files, bool besideWhole = false)
    {
        JsonFields? Open(string name) => files.FirstOrDefault(file => file.Name == name) is { Name: not null } file ? JsonFields.Parse(file.Contents, Path.Combine(folder, name)) : null;
        (JsonFields? config, JsonFields? map, JsonFields? list) = (Open(Config), Open(SpecialTokensMap), Open(AddedTokens));
        if (config is null && map is null && list is null)
            return null;
        config ??= NoFields(folder);
        string? name = config.Text("tokenizer_class");
        var settings = new CompanionSettings(config) { TokenizerClass = name is not null && name.EndsWith("Fast", StringComparison.Ordinal) ? name[..^4] : name };
        config.Ignore(IgnoredFields);
        config.Only("auto_map", _ => besideWhole, "tokenizers with custom code are not supported; convert it to a tokenizer.json");
        config.Only("split_special_tokens", value => value.ValueKind == JsonValueKind.False, "splitting special tokens is not supported; set it to false");
        settings.ReadSpecial(config, special: false);
        bool decides = settings.ReadDecoder(config);
        if (map is not null && !decides)
        {
            settings.ReadSpecial(map, special: true);
            map.Finish();
        }

        if (list is not null)
            settings.ReadList(list, decides);
        // The flags of an added token also apply to the attribute that names it.
        foreach (AddedTokenSettings token in settings.added.Values)
        {
            foreach (string attribute in Attributes)
            {
                if (settings.SpecialToken(attribute)?.Content == token.Content)
                    settings.special[attribute] = token with { Special = true };
            }
        }

        return settings;
    }

    /// <summary>Reads the companion files of a folder.</summary>
    /// <inheritdoc cref="Read(string, IReadOnlyList{ValueTuple{string, byte[]}}, bool)"/>
    public static CompanionSettings? Read(string folder) => Read(
        folder,
        [.. ((string[])[Config, SpecialTokensMap, AddedTokens]).Where(name => File.Exists(Path.Combine(folder, name))).Select(name => (name, SourceFile.ReadAllBytes(Path.Combine(folder, name), JsonFields.MaxFileBytes, "it is no such file")))],
        besideWhole: true);

    /// <summary>The special tokens that Hugging Face's library gives to chat templates: those of the files, else of the class, by name, and the list of others.</summary>
    public Dictionary<string, object?> TemplateTokens()
    {
        IReadOnlyDictionary<string, AddedTokenSettings> defaults = ClassTokens.Of(TokenizerClass);
        var result = new Dictionary<string, object?>();
        foreach (string attribute in Attributes)
        {
            // A null in the file means that there is no such token.
            AddedTokenSettings? token = SpecialToken(attribute) ?? (Fields.Names.Contains(attribute) ? null : defaults.GetValueOrDefault(attribute));
            if (token is { Content.Length: > 0 })
                result[attribute] = token.Content;
        }

        foreach ((string name, AddedTokenSettings token) in named)
            result[name] = token.Content;
        if (additional.Count > 0)
            result[Additional] = additional.Select(token => (object?)token.Content).ToList();
        return result;
    }

    /// <summary>The settings of a folder without companion files.</summary>
    public static CompanionSettings None(string folder) => new(NoFields(folder));

    /// <summary>
    /// The added tokens, with ids for special tokens that have none: the id in the vocabulary, else the next free id after all others.
    /// </summary>
    /// <param name="defaults">Special tokens of the tokenizer class, by attribute; used if no file names one and the vocabulary has the token.</param>
    /// <param name="idOf">Returns the id of a token in the vocabulary.</param>
    /// <param name="vocabularySize">The vocabulary size.</param>
    public SortedDictionary<int, AddedTokenSettings> Complete(IReadOnlyDictionary<string, AddedTokenSettings> defaults, Func<string, int?> idOf, int vocabularySize)
    {
        foreach ((string attribute, AddedTokenSettings token) in defaults)
        {
            // A token that a file names by its text alone has the flags of the class.
            if (plain.Contains(attribute) && added.Values.All(other => other.Content != special[attribute].Content))
                special[attribute] = token with { Content = special[attribute].Content };

            // A null in the file means that there is no such token.
            if (!special.ContainsKey(attribute) && !Fields.Names.Contains(attribute) && (idOf(token.Content) is not null || added.Values.Any(other => other.Content == token.Content)))
                special[attribute] = added.Values.FirstOrDefault(other => other.Content == token.Content) ?? token;
        }

        var result = new SortedDictionary<int, AddedTokenSettings>(added);
        var known = result.ToDictionary(pair => pair.Value.Content, pair => pair.Key);
        int next = Math.Max(vocabularySize, result.Count == 0 ? 0 : result.Keys.Last() + 1);
        foreach (AddedTokenSettings token in AllSpecial)
        {
            if (token.Content.Length == 0 || known.ContainsKey(token.Content))
                continue;
            int id = idOf(token.Content) ?? next++;
            known[token.Content] = id;
            result[id] = token;
        }

        return result;
    }

    /// <summary>The tokens of <see cref="Complete"/>, for matching in text.</summary>
    /// <param name="defaults">Special tokens of the class, by attribute.</param>
    /// <param name="vocabulary">The vocabulary.</param>
    /// <param name="normalizer">The normalizer of the text, also applied to tokens that are matched in normalized text.</param>
    /// <exception cref="UserException">An id is out of range, or contradicts the vocabulary.</exception>
    public AddedTokens AddedTokensOf(IReadOnlyDictionary<string, AddedTokenSettings> defaults, Vocabulary vocabulary, INormalizer? normalizer)
    {
        SortedDictionary<int, AddedTokenSettings> tokens = Complete(defaults, token => vocabulary.IdOf(token), vocabulary.Size);
        foreach ((int id, AddedTokenSettings token) in tokens)
        {
            if (vocabulary.IdOf(token.Content) is { } known && known != id)
                throw new UserException($"{Fields.Source}: \"{token.Content}\" is added with the id {id}, but the vocabulary gives it {known}; make them equal");
            if (vocabulary.TokenOf(id) is { } other && other != token.Content)
                throw new UserException($"{Fields.Source}: \"{token.Content}\" is added with the id {id}, which is the id of \"{other}\" in the vocabulary; give it one of its own");
        }

        return new(tokens.Select(pair => pair.Value.ToAdded(pair.Key)), normalizer, Fields.Source);
    }

    private static JsonFields NoFields(string folder) => JsonFields.Parse("{}"u8.ToArray(), Path.Combine(folder, Config));

    private void ReadSpecial(JsonFields fields, bool special)
    {
        foreach (string attribute in Attributes)
        {
            JsonElement? value = fields.Element(attribute);
            if (Token(fields, attribute, value, special) is not { } token)
                continue;
            this.special[attribute] = token;
            if (value!.Value.ValueKind == JsonValueKind.String)
                plain.Add(attribute);
            else
                plain.Remove(attribute);
        }

        foreach (string list in (string[])[Additional, Extra])
        {
            if (fields.Element(list) is not { } value)
                continue;
            // Newer files name each extra token.
            IEnumerable<(string? Name, JsonElement? Value)> items = value.ValueKind switch
            {
                JsonValueKind.Array => value.EnumerateArray().Select(item => ((string?)null, (JsonElement?)item)),
                JsonValueKind.Object => new JsonFields(value, fields.Source, list) is var tokens ? tokens.Names.Select(key => ((string?)key, tokens.Element(key))) : [],
                _ => throw fields.Error(list, $"is {JsonFields.Describe(value)}; it must be an array of tokens"),
            };
            foreach ((string? name, JsonElement? item) in items)
            {
                if (Token(fields, list, item, special) is not { } token)
                    continue;
                if (name is not null)
                    named[name] = token;
                if (additional.All(other => other.Content != token.Content))
                    additional.Add(token);
            }
        }
    }

    private static AddedTokenSettings? Token(JsonFields fields, string name, JsonElement? value, bool special) => value switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } => AddedTokenSettings.SpecialOf(fields.Text(name, value.Value)),
        { ValueKind: JsonValueKind.Object } => AddedTokenSettings.Read(new JsonFields(value.Value, fields.Source, name), special) with { Special = true },
        _ => throw fields.Error(name, $"is {JsonFields.Describe(value.Value)}; it must be a token"),
    };

    private bool ReadDecoder(JsonFields config)
    {
        if (config.Object(Decoder) is not { } decoder)
            return false;
        foreach (string key in decoder.Names)
        {
            if (!int.TryParse(key, NumberStyles.None, CultureInfo.InvariantCulture, out int id))
                throw decoder.Error(key, "is not an id; the names in this object are integers from 0");
            Add(decoder, key, id, AddedTokenSettings.Read(decoder.RequiredObject(key)));
        }

        return true;
    }

    /// <summary>Reads <c>added_tokens.json</c>; with an <c>added_tokens_decoder</c> it is only compared.</summary>
    private void ReadList(JsonFields list, bool decided)
    {
        foreach (string token in list.Names)
        {
            int id = list.RequiredInt(token);
            if (!decided)
                Add(list, token, id, AllSpecial.FirstOrDefault(known => known.Content == token) ?? new AddedTokenSettings(token));
            else if (!added.TryGetValue(id, out AddedTokenSettings? known) || known.Content != token)
                throw list.Error(token, $"= {id} contradicts {Decoder} of {Config}, which takes precedence; make the two agree");
        }
    }

    private void Add(JsonFields fields, string name, int id, AddedTokenSettings token)
    {
        if (id < 0)
            throw fields.Error(name, $"has the id {id}; ids begin at 0");
        if (added.FirstOrDefault(other => other.Value.Content == token.Content) is { Value: not null } twice)
            throw fields.Error(name, $"is the token \"{token.Content}\", which has the id {twice.Key} already; remove one of the two");
        if (!added.TryAdd(id, token))
            throw fields.Error(name, $"has the id {id}, as \"{added[id].Content}\" has; give each an id of its own");
    }
}
