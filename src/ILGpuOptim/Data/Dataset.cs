using System.Globalization;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Training and validation tokens.</summary>
public sealed class Dataset : IDisposable
{
    private Dataset(TokenSequence training, TokenSequence validation, int vocabulary, ITokenizer? tokenizer, string source)
    {
        (Training, Validation) = (training, validation);
        (VocabularySize, Tokenizer, Source) = (vocabulary, tokenizer, source);
    }

    /// <summary>The vocabulary size: all ids are below it.</summary>
    public int VocabularySize { get; }

    /// <summary>The tokenizer of the tokens, if known.</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>The name of the source, for messages.</summary>
    public string Source { get; }

    /// <summary>The training tokens.</summary>
    public TokenSequence Training { get; }

    /// <summary>The validation tokens.</summary>
    public TokenSequence Validation { get; }

    /// <summary>The documents of <see cref="Training"/>; null if not requested.</summary>
    public DocumentEnds? TrainingDocuments { get; private init; }

    /// <summary>The documents of <see cref="Validation"/>; null if not requested.</summary>
    public DocumentEnds? ValidationDocuments { get; private init; }

    /// <summary>Marks the tokens of answers in <see cref="Training"/>, if it consists of conversations.</summary>
    internal TokenSequence? TrainingAnswers { get; private init; }

    /// <summary>Marks the tokens of answers in <see cref="Validation"/>, if it consists of conversations.</summary>
    internal TokenSequence? ValidationAnswers { get; private init; }

    /// <summary>True if the conversations are pairs: each chosen one is followed by the one that is rejected.</summary>
    internal bool HasPairs { get; private init; }

    /// <summary>The template of conversations; null for other data.</summary>
    public ChatTemplate? ChatTemplate { get; private init; }

    /// <summary>The messages before the first answer of the training data; empty for other data.</summary>
    internal IReadOnlyList<ChatMessage> FirstQuestion { get; private init; } = [];

    /// <summary>Notes for the user on how the ends of documents were found.</summary>
    public IReadOnlyList<string> Notes { get; private init; } = [];

    /// <summary>Splits a text; the last fraction is for validation.</summary>
    /// <param name="text">The text.</param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="validationFraction">The fraction used for validation, in [0, 1).</param>
    /// <param name="source">The name of the source, for messages.</param>
    /// <exception cref="UserException">The fraction is invalid, or the tokenizer does not know a character.</exception>
    public static Dataset FromText(string text, ITokenizer tokenizer, double validationFraction, string source) =>
        FromTokens(TokenSequence.From(tokenizer.Encode(text)), tokenizer.VocabularySize, tokenizer, validationFraction, source);

    /// <summary>Splits a text with documents, which end at the end of a file and at the tokenizer's <c>&lt;|endoftext|&gt;</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="fileEnds">The characters up to the end of each file, as <see cref="TextSource.Read(IReadOnlyList{string}, out IReadOnlyList{int})"/> gives them.</param>
    /// <param name="tokenizer">The tokenizer; each file is tokenized separately.</param>
    /// <param name="validationFraction">The fraction used for validation, in [0, 1).</param>
    /// <param name="source">The name of the source, for messages.</param>
    /// <exception cref="UserException">The fraction is invalid, or the tokenizer does not know a character.</exception>
    public static Dataset FromDocuments(string text, IReadOnlyList<int> fileEnds, ITokenizer tokenizer, double validationFraction, string source)
    {
        TokenSequence[] files = [.. fileEnds.Select((end, i) => TokenSequence.From(tokenizer.Encode(text.AsSpan((i == 0 ? 0 : fileEnds[i - 1])..end))))];
        var notes = new SortedSet<string>(StringComparer.Ordinal);
        DocumentEnds[] ends = [.. files.Select(file => EndsOf(null, file, tokenizer, notes))];
        return FromTokens(TokenSequence.Join(files), tokenizer.VocabularySize, tokenizer, validationFraction, source, DocumentEnds.Join(ends), [.. notes]);
    }

    /// <summary>
    /// Reads conversations, or pairs of them, from JSON lines; the last fraction is for validation. Only the assistant's answers are predicted. Null if no path
    /// is a file of conversations or pairs.
    /// </summary>
    /// <param name="paths">The files.</param>
    /// <param name="template">Converts conversations to text.</param>
    /// <param name="tokenizer">Makes the tokenizer, from the text of all conversations if it needs one.</param>
    /// <param name="validationFraction">The fraction used for validation, in [0, 1).</param>
    /// <param name="block">Tokens per window; a longer conversation loses its end.</param>
    /// <exception cref="UserException">A line is damaged, or its conversation cannot be converted; the message names the file and the line.</exception>
    internal static Dataset? TryReadConversations(
        IReadOnlyList<string> paths, Func<ChatTemplate> template, Func<Func<string>, ITokenizer> tokenizer, double validationFraction, int block)
    {
        bool hasPairs = paths.Any(ConversationFile.IsPairs);
        if (!hasPairs && !paths.Any(ConversationFile.Is))
            return null;
        (int sides, string kind) = hasPairs ? (2, "pairs of answers") : (1, "conversations");
        var ignored = new SortedSet<string>(StringComparer.Ordinal);
        var notes = new SortedSet<string>(StringComparer.Ordinal);
        IReadOnlyList<Conversation> all = hasPairs ? ConversationFile.ReadPairs(paths, ignored) : ConversationFile.Read(paths, ignored);
        ChatTemplate form = template();
        ITokenizer words = tokenizer(() => string.Concat(all.Select(item => Text(item, form))));
        int split = (int)(all.Count / sides * (1 - validationFraction)) * sides;
        string source = string.Join(", ", paths);
        ConversationSet left = ConversationSet.Of([.. all.Take(split)], form, words, block, sides, notes), right = ConversationSet.Of([.. all.Skip(split)], form, words, block, sides, notes);
        if (left.Tokens.Length == 0)
            throw UserException.NamingSettings($"{source}: {all.Count / sides} {kind} leave none to train on; give more, a smaller {"Validation":setting} or a larger {"Block":setting}");
        string counts = validationFraction > 0 ? string.Create(CultureInfo.InvariantCulture, $"{left.Ends.Count / sides:N0} {kind} to train on and {right.Ends.Count / sides:N0} to validate with")
            : string.Create(CultureInfo.InvariantCulture, $"{left.Ends.Count / sides:N0} {kind}");
        notes.Add(string.Create(CultureInfo.InvariantCulture, $"{counts}; only answers are predicted. Chat template: {form.Source}"));
        if (ignored.Count > 0)
            notes.Add($"fields of the records that are not used: {string.Join(", ", ignored)}");
        return new Dataset(left.Tokens, right.Tokens, words.VocabularySize, words, source)
        {
            TrainingDocuments = left.Ends,
            ValidationDocuments = right.Ends,
            TrainingAnswers = left.Answers,
            ValidationAnswers = right.Answers,
            HasPairs = hasPairs,
            ChatTemplate = form,
            FirstQuestion = [.. all[0].Messages.TakeWhile(message => !message.IsAnswer)],
            Notes = [.. notes],
        };

        static string Text(Conversation conversation, ChatTemplate form)
        {
            try
            {
                return form.Render(conversation.Messages, addsGenerationPrompt: false);
            }
            catch (UserException e)
            {
                throw new UserException($"{conversation.Place}: {e.Message}", e);
            }
        }
    }

    /// <summary>A pair of conversations that fill a block, for plans of memory: all batches of pairs need the same.</summary>
    internal static Dataset OfOnePair(int block)
    {
        int[] marks = new int[2 * (block + 1)];
        TokenSequence tokens = TokenSequence.From(marks);
        Array.Fill(marks, 1);
        return new Dataset(tokens, TokenSequence.Empty, 1, null, "memory")
        {
            TrainingDocuments = DocumentEnds.From([block + 1, 2 * (block + 1)], marks.Length),
            ValidationDocuments = DocumentEnds.From([], 0),
            TrainingAnswers = TokenSequence.From(marks),
            ValidationAnswers = TokenSequence.Empty,
            HasPairs = true,
        };
    }

    /// <summary>Splits tokens; the last fraction is for validation.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="vocabulary">The vocabulary size: all ids are below it.</param>
    /// <param name="tokenizer">Their tokenizer, if known.</param>
    /// <param name="validationFraction">The fraction used for validation, in [0, 1).</param>
    /// <param name="source">The name of the source, for messages.</param>
    /// <exception cref="UserException">The fraction is invalid.</exception>
    /// <param name="documents">The ends of their documents; null if not requested.</param>
    /// <param name="notes">Notes for the user on how the ends were found.</param>
    public static Dataset FromTokens(
        TokenSequence tokens, int vocabulary, ITokenizer? tokenizer, double validationFraction, string source, DocumentEnds? documents = null, IReadOnlyList<string>? notes = null)
    {
        if (documents is not null && documents.Length != tokens.Length)
            throw new ArgumentException($"the documents have {documents.Length} tokens, not {tokens.Length}", nameof(documents));
        if (!(validationFraction >= 0 && validationFraction < 1))
            throw new UserException($"a validation fraction of {validationFraction} is invalid; it must be at least 0 and below 1");
        long split = (long)(tokens.Length * (1 - validationFraction));
        return new Dataset(tokens.Slice(0, split), tokens.Slice(split, tokens.Length - split), vocabulary, tokenizer, source)
        {
            TrainingDocuments = documents?.Slice(0, split),
            ValidationDocuments = documents?.Slice(split, tokens.Length - split),
            Notes = notes ?? [],
        };
    }

    /// <summary>
    /// Opens token files: several in sequence, the last fraction of which is for validation, or a folder with <c>train</c> and <c>val</c> files as
    /// named by nanoGPT and llm.c. Null if the paths are neither.
    /// </summary>
    /// <param name="paths">Files, or one folder.</param>
    /// <param name="validationFraction">The fraction used for validation, in [0, 1); not used for a folder.</param>
    /// <param name="documents">
    /// Finds documents too: by the file of ends beside a token file (<see cref="DocumentFile"/>), else by the <c>&lt;|endoftext|&gt;</c> of the folder's
    /// tokenizer, else each file is one.
    /// </param>
    /// <exception cref="UserException">A file is missing or damaged.</exception>
    public static Dataset? TryOpenTokens(IReadOnlyList<string> paths, double validationFraction, bool documents = false)
    {
        var notes = new SortedSet<string>(StringComparer.Ordinal);
        if (paths is [string folder] && Directory.Exists(folder))
        {
            FolderManifest.Check(folder);
            string[] training = Files(folder, "*train*.bin"), validation = Files(folder, "*val*.bin");
            if (training.Length == 0 && validation.Length == 0)
                return null;
            if (training.Length == 0 || validation.Length == 0)
                throw new UserException($"{folder}: there are {(training.Length > 0 ? "*train*.bin files, but no *val*.bin" : "*val*.bin files, but no *train*.bin")}; add it, or name the files to split them");
            ITokenizer? tokenizer = Tokenizers.Load(folder);
            (TokenSequence left, DocumentEnds? leftEnds) = Open(training, tokenizer, documents, notes);
            (TokenSequence right, DocumentEnds? rightEnds) = Open(validation, tokenizer, documents, notes);
            return new Dataset(left, right, Math.Max(VocabularyOf(Math.Max(left.Max(), right.Max())), tokenizer?.VocabularySize ?? 0), tokenizer, folder)
            {
                TrainingDocuments = leftEnds,
                ValidationDocuments = rightEnds,
                Notes = [.. notes],
            };
        }

        if (paths.Count == 0 || !paths.All(path => path.EndsWith(".bin", StringComparison.OrdinalIgnoreCase)))
            return null;
        (TokenSequence tokens, DocumentEnds? ends) = Open(paths, null, documents, notes);
        return FromTokens(tokens, VocabularyOf(tokens.Max()), null, validationFraction, string.Join(", ", paths), ends, [.. notes]);
    }

    /// <summary>Opens token files in sequence, with the ends of their documents.</summary>
    /// <exception cref="UserException">A file is missing or damaged.</exception>
    public static (TokenSequence Tokens, DocumentEnds Documents, IReadOnlyList<string> Notes) OpenDocuments(IReadOnlyList<string> files, ITokenizer? tokenizer)
    {
        var notes = new SortedSet<string>(StringComparer.Ordinal);
        (TokenSequence tokens, DocumentEnds? ends) = Open(files, tokenizer, true, notes);
        return (tokens, ends!, [.. notes]);
    }

    private static string[] Files(string folder, string pattern) => [.. Directory.EnumerateFiles(folder, pattern).Order(StringComparer.Ordinal)];

    private static (TokenSequence Tokens, DocumentEnds? Documents) Open(IReadOnlyList<string> paths, ITokenizer? tokenizer, bool documents, SortedSet<string> notes)
    {
        TokenSequence[] files = [.. paths.Select(TokenFile.Open)];
        return (TokenSequence.Join(files), documents ? DocumentEnds.Join([.. files.Select((file, i) => EndsOf(paths[i], file, tokenizer, notes))]) : null);
    }

    private static DocumentEnds EndsOf(string? path, TokenSequence tokens, ITokenizer? tokenizer, SortedSet<string> notes)
    {
        if (path is not null && DocumentFile.TryOpen(path, tokens) is { } stored)
            return stored;
        if (tokenizer?.IdOf(Tokenization.BytePairTrainer.EndOfText) is { } end && DocumentEnds.EndingWith(tokens, end) is { } found)
        {
            notes.Add($"documents end with {Tokenization.BytePairTrainer.EndOfText} (id {end})");
            return found;
        }

        notes.Add(path is null ? "each text file is one document; prepare keeps the ends of the documents in JSON lines and Parquet files"
            : $"{path} has no file of document ends ({Path.GetFileName(DocumentFile.PathOf(path))}), so it is one document; prepare writes both");
        return DocumentEnds.One(tokens.Length);
    }

    private static int VocabularyOf(long largest) => checked((int)largest + 1);

    /// <summary>Throws if the training or validation tokens are fewer than a window of <paramref name="block"/> + 1.</summary>
    /// <exception cref="UserException">There are too few tokens.</exception>
    public void CheckBlock(int block)
    {
        if (Training.Length <= block)
            throw UserException.NamingSettings($"{Source}: {Training.Length} tokens to train on are too few for a block of {block}; give more text or a smaller {"Block":setting}");
        if (Validation.Length > 0 && Validation.Length <= block)
            throw UserException.NamingSettings($"{Source}: {Validation.Length} tokens to validate with are too few for a block of {block}; give more text, a smaller {"Block":setting} or a larger {"Validation":setting}");
    }

    /// <summary>Closes the token files.</summary>
    public void Dispose()
    {
        Training.Dispose();
        Validation.Dispose();
        TrainingDocuments?.Dispose();
        ValidationDocuments?.Dispose();
    }
}
