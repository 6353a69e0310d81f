using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The tokens that the loss is measured on.</summary>
/// <param name="Tokens">The tokens.</param>
/// <param name="Bytes">The number of bytes of their text, if known.</param>
/// <param name="Documents">Their documents; null where they are not kept apart.</param>
/// <param name="Notes">How the documents were found.</param>
internal sealed record EvalData(TokenSequence Tokens, long? Bytes, DocumentEnds? Documents, IReadOnlyList<string> Notes)
{
    /// <summary>The settings of a run, or of the run of a checkpoint; null for other models.</summary>
    public static TrainingSettings? SettingsOf(string path)
    {
        string run = File.Exists(Path.Combine(path, TrainingRun.SettingsFile)) ? path : Path.Combine(path, "..", "..");
        string settings = Path.Combine(run, TrainingRun.SettingsFile);
        return File.Exists(settings) ? TrainingSettings.LoadRun(settings) : null;
    }

    /// <summary>The tokens of files, or the validation data of a run.</summary>
    public static EvalData Open(string path, string folder, TrainingSettings? run, string[] data, bool documents)
    {
        ITokenizer? tokenizer = Tokenizers.Load(folder);
        if (data.Length == 0)
        {
            Dataset own = TrainingRun.LoadData((run ?? throw new UserException($"{path}: not a run, so there is no data to evaluate on; give --data, or a task with --task")) with { Documents = documents }, folder);
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
