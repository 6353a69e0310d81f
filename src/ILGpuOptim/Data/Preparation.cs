using ILGpuOptim.Files;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Data;

/// <summary>The result of a <see cref="Preparation"/>.</summary>
/// <param name="Training">The number of training tokens.</param>
/// <param name="Validation">The number of validation tokens.</param>
/// <param name="Documents">The number of documents.</param>
public sealed record PreparedTokens(long Training, long Validation, long Documents);

/// <summary>The progress of a <see cref="Preparation"/>.</summary>
/// <param name="File">The current file.</param>
/// <param name="Bytes">Bytes read so far of all files, as on the disk.</param>
/// <param name="AllBytes">The total size of all files in bytes.</param>
public readonly record struct PreparationProgress(string File, long Bytes, long AllBytes);

/// <summary>
/// Converts documents to <c>train.bin</c> and <c>val.bin</c>, with the ends of documents beside them (<see cref="DocumentFile"/>). Batches of parts are read,
/// encoded by all cores and written in order, so memory does not grow with the data. Validation parts are spread evenly: part i is for validation if
/// (i + 1) · fraction passes an integer. The parts of a text before and after a validation part are separate documents.
/// </summary>
public sealed class Preparation
{
    /// <summary>The number of parts encoded at once: enough to keep all cores busy.</summary>
    private static readonly int Batch = 4 * Environment.ProcessorCount;

    /// <summary>The number of characters at which a batch is full, which bounds the memory of long documents.</summary>
    private const int BatchCharacters = 8 << 20;

    /// <summary>The range of the validation fraction: both token files need documents.</summary>
    public static RangeAttribute ValidationRange { get; } = new(0, 1) { MinimumIsExclusive = true, MaximumIsExclusive = true };

    private readonly ITokenizer tokenizer;
    private readonly double validation;
    private readonly string field;
    private readonly int? end;

    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="validation">The validation fraction, in (0, 1).</param>
    /// <param name="field">The field or column that holds the text.</param>
    /// <param name="end">The id at the end of each document; null: that of <c>&lt;|endoftext|&gt;</c>, if there is one.</param>
    /// <exception cref="UserException">The fraction or the id is invalid.</exception>
    public Preparation(ITokenizer tokenizer, double validation, string field, int? end)
    {
        if (!ValidationRange.Contains(validation))
            throw UserException.NamingSettings($"{nameof(validation):setting} {validation}: it must be {Values.Describe(typeof(double), ValidationRange)}");
        if (end is < 0 || end >= tokenizer.VocabularySize)
            throw UserException.NamingSettings($"{nameof(end):setting} {end}: the tokenizer has ids from 0 to {tokenizer.VocabularySize - 1}");
        (this.tokenizer, this.validation, this.field) = (tokenizer, validation, field);
        this.end = end ?? tokenizer.IdOf(Tokenization.BytePairTrainer.EndOfText);
    }

    /// <summary>Reads, encodes and writes.</summary>
    /// <param name="files">The input files, in order.</param>
    /// <param name="folder">The output folder, written atomically. An older one is replaced if it holds nothing else.</param>
    /// <param name="reading">Called at the start of each file and after each part.</param>
    /// <exception cref="UserException">A file is damaged, or the disk is full; no partial output remains.</exception>
    public PreparedTokens Run(IReadOnlyList<string> files, string folder, Action<PreparationProgress>? reading = null)
    {
        try
        {
            PreparedTokens? prepared = null;
            AtomicFolder.WriteListed(folder, partial => prepared = Write(files, partial, reading));
            return prepared!;
        }
        catch (AggregateException e) when (e.InnerException is UserException reason)
        {
            throw UserException.NamingSettings($"{reason}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{folder}: the tokens cannot be written: {e.Message}; free some space or choose another folder", e);
        }
    }

    private PreparedTokens Write(IReadOnlyList<string> files, string folder, Action<PreparationProgress>? reading)
    {
        TokenFormat format = tokenizer.VocabularySize <= ushort.MaxValue + 1 ? TokenFormat.Plain : TokenFormat.LlmCWide;
        using var training = new TokenFileWriter(Path.Combine(folder, "train.bin"), format);
        using var validating = new TokenFileWriter(Path.Combine(folder, "val.bin"), format);
        TokenFileWriter? last = null;
        long number = 0, documents = 0;
        foreach (List<DocumentPart> batch in Batches(Parts(files, reading)))
        {
            var ids = new int[batch.Count][];
            Parallel.For(0, batch.Count, i => ids[i] = tokenizer.Encode(batch[i].Text));
            for (int i = 0; i < batch.Count; i++, number++)
            {
                TokenFileWriter target = Math.Floor((number + 1) * validation) > Math.Floor(number * validation) ? validating : training;
                if (last is not null && last != target)
                {
                    // A document that continues in the other file ends in this one.
                    last.EndDocument();
                }

                target.Append(ids[i]);
                last = batch[i].IsLast ? null : target;
                if (!batch[i].IsLast)
                    continue;
                documents++;
                if (end is { } separator)
                    target.Append([separator]);
                target.EndDocument();
            }
        }

        if (training.Count == 0 || validating.Count == 0)
            throw UserException.NamingSettings($"{number} parts with {nameof(validation):setting} {validation} leave {(training.Count == 0 ? "nothing to train on" : "nothing to validate with")}; give more data or another fraction");
        training.Finish();
        validating.Finish();
        tokenizer.Save(folder);
        return new PreparedTokens(training.Count, validating.Count, documents);
    }

    private static IEnumerable<List<DocumentPart>> Batches(IEnumerable<DocumentPart> parts)
    {
        var batch = new List<DocumentPart>();
        long characters = 0;
        foreach (DocumentPart part in parts)
        {
            batch.Add(part);
            characters += part.Text.Length;
            if (batch.Count < Batch && characters < BatchCharacters)
                continue;
            yield return batch;
            (batch, characters) = ([], 0);
        }

        if (batch.Count > 0)
            yield return batch;
    }

    private IEnumerable<DocumentPart> Parts(IReadOnlyList<string> files, Action<PreparationProgress>? reading)
    {
        var source = new DocumentSource(field);
        long[] lengths = [.. files.Select(file => new FileInfo(file).Length)];
        long before = 0, all = lengths.Sum();
        for (int i = 0; i < files.Count; before += lengths[i], i++)
        {
            reading?.Invoke(new(files[i], before, all));
            foreach (DocumentPart part in source.Read(files[i]))
            {
                reading?.Invoke(new(files[i], Math.Min(before + source.Position, all), all));
                yield return part;
            }
        }
    }
}
