using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The tokens that the loss is measured on.</summary>
/// <param name="Tokens">The tokens.</param>
/// <param name="Bytes">The number of bytes of their text, if known.</param>
/// <param name="Documents">Their documents; null where they are not kept apart.</param>
/// <param name="Notes">How the documents were found.</param>
internal sealed record EvalData(TokenSequence Tokens, long? Bytes, DocumentEnds? Documents, IReadOnlyList<string> Notes)
{
    /// <summary>Marks the tokens of answers, if the data consists of conversations: only they are predicted.</summary>
    public TokenSequence? Answers { get; private init; }

    /// <summary>The first tokens of the data; of conversations, those that are whole within them, but at least one.</summary>
    /// <param name="tokens">The most tokens; 0: all.</param>
    public EvalData Beginning(long tokens)
    {
        if (tokens == 0 || tokens >= Tokens.Length)
            return this;
        if (Answers is not null)
        {
            long whole = Documents!.EndOf(0);
            for (long i = 1; i < Documents.Count && Documents.EndOf(i) <= tokens; i++)
                whole = Documents.EndOf(i);
            tokens = whole;
        }

        return this with { Tokens = Tokens.Slice(0, tokens), Bytes = null, Documents = Documents?.Slice(0, tokens), Answers = Answers?.Slice(0, tokens) };
    }

    /// <summary>The settings of a run, or of the run of a checkpoint; null for other models.</summary>
    public static TrainingSettings? SettingsOf(string path)
    {
        string run = File.Exists(Path.Combine(path, TrainingRun.SettingsFile)) ? path : Path.Combine(path, "..", "..");
        string settings = Path.Combine(run, TrainingRun.SettingsFile);
        return File.Exists(settings) ? TrainingSettings.LoadRun(settings) : null;
    }

    /// <summary>The tokens of files, or the validation data of a run.</summary>
    /// <param name="path">The run or folder, for messages.</param>
    /// <param name="folder">The model's folder.</param>
    /// <param name="run">The settings of the run; null for other models.</param>
    /// <param name="data">The files; empty: the validation data.</param>
    /// <param name="documents">Keeps documents apart.</param>
    /// <param name="block">The most tokens of a conversation that predict others; 0: as many as the model's positions hold.</param>
    public static EvalData Open(string path, string folder, TrainingSettings? run, string[] data, bool documents, int block)
    {
        ITokenizer? tokenizer = Tokenizers.Load(folder);
        if ((data.Length > 0 ? data : run?.Data ?? []).FirstOrDefault(ConversationFile.IsPairs) is { } pairs)
            throw new UserException($"{pairs}: pairs of answers are compared with the model that a run began with, which its validations do (metrics.jsonl); give --data with conversations or text");
        if (data.Length > 0 && tokenizer is not null)
        {
            int most = ModelFiles.LoadConfig(folder).ContextLength;
            Dataset? read = Dataset.TryReadConversations(data, () => ChatTemplate.Load(folder) ?? ChatTemplate.ChatMl, _ => tokenizer, 0, block == 0 ? most : Math.Min(block, most));
            if (read is not null)
                return new EvalData(read.Training, null, read.TrainingDocuments, read.Notes) { Answers = read.TrainingAnswers };
        }

        if (data.Length == 0)
        {
            Dataset own = TrainingRun.LoadData((run ?? throw new UserException($"{path}: not a run, so there is no data to evaluate on; give --data, or a task with --task")) with { Documents = documents }, folder);
            if (own.ValidationAnswers is { } answers)
                return new EvalData(own.Validation, null, own.ValidationDocuments, own.Notes) { Answers = answers };
            return new EvalData(own.Validation, tokenizer is null ? null : Encoding.UTF8.GetByteCount(tokenizer.Decode(own.Validation.ToArray())), own.ValidationDocuments, own.Notes);
        }

        if (data.All(file => file.EndsWith(".bin", StringComparison.OrdinalIgnoreCase)))
        {
            if (!documents)
                return new EvalData(TokenSequence.Join([.. data.Select(TokenFile.Open)]), null, null, []);
            (TokenSequence tokens, DocumentEnds ends, IReadOnlyList<string> notes) = Dataset.OpenDocuments(data, tokenizer);
            return new EvalData(tokens, null, ends, notes);
        }

        if (tokenizer is null)
            throw new UserException($"{folder}: there is no tokenizer beside the model, so it cannot read text; give a .bin token file");
        string text = TextSource.Read(data, out IReadOnlyList<int> fileEnds);
        if (!documents)
            return new EvalData(TokenSequence.From(tokenizer.Encode(text)), Encoding.UTF8.GetByteCount(text), null, []);
        Dataset apart = Dataset.FromDocuments(text, fileEnds, tokenizer, 0, string.Join(", ", data));
        return new EvalData(apart.Training, null, apart.TrainingDocuments, apart.Notes);
    }
}
