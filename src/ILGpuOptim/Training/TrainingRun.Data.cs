using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;

namespace ILGpuOptim.Training;

// The data of a run, with its tokenizer and the template of its conversations.
public sealed partial class TrainingRun
{
    /// <summary>Loads the data that settings name. A resumed run keeps its tokenizer.</summary>
    public static Dataset LoadData(TrainingSettings settings, string? checkpoint = null)
    {
        bool begins = checkpoint is null || checkpoint == settings.From;
        if (Dataset.TryOpenTokens(settings.Data, settings.Validation, settings.Documents) is { } tokens)
        {
            bool isSplit = settings.Data is [string folder] && Directory.Exists(folder);
            if (begins && isSplit && settings.Validation != TrainingSettings.DefaultValidation)
            {
                tokens.Dispose();
                throw UserException.NamingSettings($"{nameof(settings.Validation):setting} {settings.Validation}: {settings.Data[0]} has its own files for validation; leave it at {TrainingSettings.DefaultValidation}, or name the files instead of the folder");
            }

            if (!begins || settings.Tokenizer == "char")
                return tokens;
            tokens.Dispose();
            throw UserException.NamingSettings($"{nameof(settings.Tokenizer):setting} {settings.Tokenizer}: {string.Join(", ", settings.Data)} holds token ids already; leave {nameof(settings.Tokenizer):setting} out, or give the text");
        }

        if (Dataset.TryReadConversations(settings.Data, () => TemplateOf(settings, checkpoint), text => TokenizerOf(settings, checkpoint, text), settings.Validation, settings.Block) is { } conversations)
        {
            if (!conversations.HasPairs || settings.From is not null)
                return conversations;
            conversations.Dispose();
            throw UserException.NamingSettings($"{string.Join(", ", settings.Data)}: pairs of answers train a model further, whose probabilities are the reference; name it with {nameof(settings.From):setting}");
        }

        if (begins && settings.ChatTemplate is { } template)
            throw UserException.NamingSettings($"{nameof(settings.ChatTemplate):setting} {template}: the data holds no conversations; give JSON lines with messages, with prompt and completion, or with chosen and rejected");
        string source = settings.Data.Count == 0 ? DefaultCorpus.Name : string.Join(", ", settings.Data);
        IReadOnlyList<int> fileEnds = [];
        string text = settings.Data.Count == 0 ? DefaultCorpus.Text : TextSource.Read(settings.Data, out fileEnds);
        ITokenizer tokenizer = TokenizerOf(settings, checkpoint, () => text);
        return settings.Documents
            ? Dataset.FromDocuments(text, fileEnds.Count == 0 ? [text.Length] : fileEnds, tokenizer, settings.Validation, source)
            : Dataset.FromText(text, tokenizer, settings.Validation, source);
    }

    /// <summary>
    /// For pairs: reads the log-probabilities of the reference model from the run's file. Before the first step they are computed if there is no file yet, and saved.
    /// </summary>
    /// <exception cref="UserException">The file is missing after the first step, or is damaged.</exception>
    private void FindReferences(bool begins)
    {
        if (!Data.HasPairs)
            return;
        // All ranks look for the file before the first one writes it.
        Trainer.References = ReferenceScores.Load(Folder, Data);
        if (!OnAnyRank(Trainer.References is null))
            return;
        if (!begins)
            throw new UserException($"{Path.Combine(Folder, ReferenceScores.FileName)} is missing, which holds the log-probabilities of the model that the run began with; restore it, or begin a new run");
        Trainer.References = Trainer.ScoreAnswers();
        if (Writes(Trainer.Communicator))
            Trainer.References.Save(Folder);
    }

    /// <summary>The template of conversations. A resumed run keeps its own.</summary>
    private static ChatTemplate TemplateOf(TrainingSettings settings, string? checkpoint)
    {
        if (checkpoint is not null && checkpoint != settings.From && ChatTemplate.Load(checkpoint) is { } saved)
            return saved;
        return settings.ChatTemplate is { } name ? ChatTemplate.Open(name, settings.From) : (settings.From is { } from ? ChatTemplate.Load(from) : null) ?? ChatTemplate.ChatMl;
    }

    /// <summary>The tokenizer of the data's text. A resumed run keeps its own.</summary>
    private static ITokenizer TokenizerOf(TrainingSettings settings, string? checkpoint, Func<string> text)
    {
        ITokenizer? own = checkpoint is null ? null : Tokenizers.Load(checkpoint);
        if (settings.From is { } from && checkpoint == from && settings.Tokenizer != "char")
            own = TrainedModel.Fitting(Tokenizers.Open(settings.Tokenizer), settings.Tokenizer, from);
        if (settings.From is not null && checkpoint is not null && own is null)
            throw UserException.NamingSettings($"{checkpoint}: there is no tokenizer beside the model, so it cannot read text; name one with {nameof(settings.Tokenizer):setting}, or give token files");
        return own ?? (settings.Tokenizer == "char" ? CharTokenizer.From(text()) : Tokenizers.Open(settings.Tokenizer));
    }
}
