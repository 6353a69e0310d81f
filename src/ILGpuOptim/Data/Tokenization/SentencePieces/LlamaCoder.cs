using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>
/// Hugging Face's <c>LlamaTokenizer</c>: a SentencePiece model with added tokens, at which the text is split first, and two ways
/// (<c>legacy</c> or not) of prepending a space.
/// </summary>
internal sealed class LlamaCoder : IPieceCoder
{
    private const string Space = "\u2581";

    /// <summary>The supported classes, which behave alike.</summary>
    private static readonly string[] Classes = ["LlamaTokenizer", "PreTrainedTokenizer"];

    private readonly SentencePieceProcessor processor;
    private readonly bool legacy, addPrefixSpace;
    private readonly SortedDictionary<int, AddedTokenSettings> added;
    private readonly Dictionary<string, int> addedIds;
    private readonly string[] addedTexts;
    private readonly TokenMatcher matcher;
    private readonly HashSet<string> special;
    private readonly string unknown;
    private readonly int unknownLength;

    /// <summary>Applies companion files to a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="settings">The companion files.</param>
    /// <param name="source">The model's path, for messages.</param>
    /// <exception cref="UserException">A setting is not supported.</exception>
    public LlamaCoder(SentencePieceModel model, CompanionSettings settings, string source)
    {
        JsonFields fields = settings.Fields;
        if (settings.TokenizerClass is { } name && !Classes.Contains(name))
            throw fields.Error("tokenizer_class", $"is {name}, which is not supported; SentencePiece models of LlamaTokenizer are. Convert the tokenizer to a tokenizer.json");
        bool addBegin = fields.Flag("add_bos_token") ?? true;
        // No token is appended to a text; see docs/tokenizers.md.
        _ = fields.Flag("add_eos_token");
        legacy = fields.Flag("legacy") ?? true;
        addPrefixSpace = fields.Flag("add_prefix_space") ?? true;
        if (fields.Object("sp_model_kwargs") is { } options)
        {
            options.Only("enable_sampling", value => value.ValueKind == System.Text.Json.JsonValueKind.False, "random segmentation is not supported; set it to false");
            options.Ignore("alpha", "nbest_size");
            options.Finish();
        }

        fields.Finish();
        if (!legacy)
            model = model with { Normalizer = model.Normalizer with { AddDummyPrefix = false } };
        processor = new SentencePieceProcessor(model, source);
        Dictionary<string, int> ids = [];
        for (int id = 0; id < model.Pieces.Count; id++)
            ids[model.Pieces[id].Text] = id;
        added = settings.Complete(ClassTokens.Llama, token => ids.TryGetValue(token, out int id) ? id : null, model.Pieces.Count);
        foreach ((int id, AddedTokenSettings token) in added)
            Vocabulary.CheckId(id, token.Content, fields.Source);
        addedIds = added.ToDictionary(pair => pair.Value.Content, pair => pair.Key);
        matcher = new TokenMatcher(addedTexts = [.. addedIds.Keys.Where(token => token.Length > 0)]);
        special = [.. settings.AllSpecial.Concat(added.Values.Where(token => token.Special)).Select(token => token.Content)];
        unknown = settings.SpecialToken("unk_token")?.Content ?? "<unk>";
        var pieces = new List<(int, string)>();
        processor.Encode(unknown, pieces);
        unknownLength = pieces.Count;
        VocabularySize = Math.Max(model.Pieces.Count, added.Count == 0 ? 0 : added.Keys.Last() + 1);
        PromptStart = addBegin && settings.SpecialToken("bos_token") is { } begin && addedIds.TryGetValue(begin.Content, out int beginId) ? beginId : null;
    }

    /// <summary>The added tokens by id.</summary>
    public IReadOnlyDictionary<int, AddedTokenSettings> Added => added;

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public int? PromptStart { get; }

    /// <inheritdoc/>
    public int? IdOf(string token) => addedIds.TryGetValue(token, out int id) ? id : processor.IdOf(token);

    /// <inheritdoc/>
    public IEnumerable<int> Encode(string text)
    {
        var pieces = new List<(int Id, string Text)>();
        if (text.Length == 0)
            return [];
        if (!legacy)
            text = (addPrefixSpace ? Space : "") + text.Replace(Space, " ", StringComparison.Ordinal);
        List<string> parts = Split(text);
        StripAroundTokens(parts);
        foreach (string part in parts.Where(part => part.Length > 0))
        {
            if (addedIds.TryGetValue(part, out int id))
                pieces.Add((id, part));
            else
                EncodePart(part, pieces);
        }

        // A single space before a leading special token can only be the prepended one.
        if (!legacy && pieces.Count > 1 && pieces[0].Text == Space && special.Contains(pieces[1].Text))
            pieces.RemoveAt(0);
        // Pieces are mapped to ids by their text; added tokens take precedence.
        return [.. pieces.Select(piece => addedIds.TryGetValue(piece.Text, out int id) ? id : piece.Id)];
    }

    /// <summary>Decodes ids. Added tokens are decoded to their text unless they are control pieces of the model.</summary>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var text = new StringBuilder();
        var run = new List<int>();
        bool first = true;
        foreach (int id in ids)
        {
            bool isPiece = (uint)id < (uint)processor.Pieces.Count;
            if (isPiece && (!added.ContainsKey(id) || processor.Pieces[id].Type is PieceType.Control or PieceType.Unknown))
            {
                run.Add(id);
                continue;
            }

            AppendRun();
            text.Append(added.TryGetValue(id, out AddedTokenSettings? token) ? token.Content : "\uFFFD");
            first = false;
        }

        AppendRun();
        return text.ToString();

        void AppendRun()
        {
            if (run.Count == 0)
                return;
            string decoded = processor.Decode([.. run]);
            int visible = run.FindIndex(id => processor.Pieces[id].Type != PieceType.Control);
            // Without the model's own dummy prefix, the space that was prepended to the text is removed here.
            bool prefixed = !legacy && first && addPrefixSpace && visible >= 0 && processor.Pieces[run[visible]].Text.StartsWith(SentencePieceModel.Space);
            text.Append(prefixed && decoded.StartsWith(' ') ? decoded.AsSpan(1) : decoded);
            run.Clear();
            first = false;
        }
    }

    private void EncodePart(string part, List<(int Id, string Text)> pieces)
    {
        if (legacy || !(part.StartsWith(SentencePieceModel.Space) || part.StartsWith(' ')))
        {
            processor.Encode(part, pieces);
            return;
        }

        // SentencePiece may strip leading spaces: encode them after the unknown token's text, then remove its pieces.
        var prefixed = new List<(int Id, string Text)>();
        processor.Encode(unknown + part, prefixed);
        pieces.AddRange(prefixed.Count >= unknownLength ? prefixed[unknownLength..] : prefixed);
    }

    /// <summary>Splits a text at added tokens (leftmost-longest).</summary>
    private List<string> Split(string text)
    {
        var parts = new List<string>();
        int start = 0;
        foreach ((int match, int token) in matcher.Find(text))
        {
            if (match > start)
                parts.Add(text[start..match]);
            parts.Add(addedTexts[token]);
            start = match + addedTexts[token].Length;
        }

        if (start < text.Length)
            parts.Add(text[start..]);
        return parts;
    }

    private void StripAroundTokens(List<string> parts)
    {
        for (int i = 0; i < parts.Count; i++)
        {
            if (!addedIds.TryGetValue(parts[i], out int id))
                continue;
            AddedTokenSettings token = added[id];
            string? left = i > 0 ? parts[i - 1] : null, right = i + 1 < parts.Count ? parts[i + 1] : null;
            if (token.StripRight && right is { Length: > 0 })
                parts[i + 1] = right.TrimStart(PythonSpaces);
            if (token.StripLeft && left is { Length: > 0 })
                parts[i - 1] = left.TrimEnd(PythonSpaces);
            if (token.SingleWord && left is { Length: > 0 } && left[^1] != ' ')
                (parts[i - 1], parts[i]) = (parts[i - 1] + token.Content, "");
            else if (token.SingleWord && right is { Length: > 0 } && right[0] != ' ')
                (parts[i + 1], parts[i]) = (token.Content + parts[i + 1], "");
        }
    }

    /// <summary>The white space that Python's <c>str.strip</c> removes.</summary>
    private static readonly char[] PythonSpaces = [.. Enumerable.Range(0, char.MaxValue).Select(code => (char)code).Where(c => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F')];
}
