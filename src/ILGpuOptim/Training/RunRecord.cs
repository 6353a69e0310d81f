using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>Identifies a data set: the number of tokens, and a hash of all of them.</summary>
internal sealed record DataFingerprint
{
    /// <summary>The number of training tokens.</summary>
    public long Training { get; init; }

    /// <summary>The number of validation tokens.</summary>
    public long Validation { get; init; }

    /// <summary>XXH128 of all ids as 32-bit little-endian integers, training tokens first, and of the marks of answers, in hexadecimal.</summary>
    public string Hash { get; init; } = "";

    /// <summary>XXH128 of all ends of documents as 64-bit little-endian integers, training documents first; null where documents are not kept apart.</summary>
    public string? Documents { get; init; }

    /// <summary>Computes the fingerprint; reads every token and document end once.</summary>
    public static DataFingerprint Of(Dataset data)
    {
        var hash = new XxHash128();
        int[] piece = new int[1 << 16];
        foreach (TokenSequence tokens in (ReadOnlySpan<TokenSequence>)[data.Training, data.Validation, data.TrainingAnswers ?? TokenSequence.Empty, data.ValidationAnswers ?? TokenSequence.Empty])
        {
            for (long start = 0; start < tokens.Length; start += piece.Length)
            {
                Span<int> ids = piece.AsSpan(0, (int)Math.Min(piece.Length, tokens.Length - start));
                tokens.CopyTo(start, ids);
                hash.Append(MemoryMarshal.AsBytes(ids));
            }
        }

        return new DataFingerprint
        {
            Training = data.Training.Length,
            Validation = data.Validation.Length,
            Hash = Convert.ToHexStringLower(hash.GetCurrentHash()),
            Documents = data is { TrainingDocuments: { } left, ValidationDocuments: { } right } ? HashOf(left, right) : null,
        };
    }

    private static string HashOf(params ReadOnlySpan<DocumentEnds> parts)
    {
        var hash = new XxHash128();
        long[] piece = new long[1 << 12];
        foreach (DocumentEnds documents in parts)
        {
            for (long first = 0; first < documents.Count; first += piece.Length)
            {
                Span<long> ends = piece.AsSpan(0, (int)Math.Min(piece.Length, documents.Count - first));
                documents.CopyTo(first, ends);
                hash.Append(MemoryMarshal.AsBytes(ends));
            }
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    /// <summary>True if the data is the same; ends of documents are compared where both have them.</summary>
    internal bool IsSame(DataFingerprint other) =>
        this == (Documents is null || other.Documents is null ? other with { Documents = Documents } : other);

    /// <summary>The difference between two data sets, in words.</summary>
    internal string Difference(DataFingerprint now) => Training != now.Training || Validation != now.Validation
        ? string.Create(CultureInfo.InvariantCulture, $"{Training:N0} tokens to train on and {Validation:N0} to validate with before, {now.Training:N0} and {now.Validation:N0} now")
        : string.Create(CultureInfo.InvariantCulture, $"{Training:N0} tokens to train on and {Validation:N0} to validate with as before, but other {(Hash == now.Hash ? "ends of documents" : "tokens")}");
}

/// <summary>Settings that changed when a run was resumed.</summary>
/// <param name="Step">Finished updates at that time.</param>
/// <param name="Changes">What changed: "steps: 10 → 20".</param>
internal sealed record SettingsChange(long Step, IReadOnlyList<string> Changes);

/// <summary>The record of a run, in the field <see cref="Field"/> of its settings file.</summary>
internal sealed record RunRecord
{
    /// <summary>The field of <c>settings.json</c>. A settings file of a new run may have it, but it is not read.</summary>
    public const string Field = "run";

    /// <summary>The data that the run trains on; null in runs of earlier versions.</summary>
    public DataFingerprint? Data { get; init; }

    /// <summary>Changes of settings, oldest first.</summary>
    public IReadOnlyList<SettingsChange> History { get; init; } = [];

    /// <summary>Reads the record of a run; an empty one for runs of earlier versions.</summary>
    /// <param name="path">The run's settings file.</param>
    /// <exception cref="UserException">The file is missing or damaged.</exception>
    public static RunRecord Load(string path) =>
        JsonFields.Open(path).Object(Field) is { } fields ? (RunRecord)SettingsReader.Read(fields, new RunRecord()) : new RunRecord();

    /// <summary>Settings and record as JSON, as in the run's file.</summary>
    internal string ToJson(TrainingSettings settings)
    {
        JsonObject json = settings.ToNode();
        json[Field] = SettingsWriter.Write(this);
        return json.ToJsonString(SettingsWriter.Indented);
    }

    /// <summary>The record of a run that is resumed.</summary>
    /// <param name="step">Finished updates.</param>
    /// <param name="before">Its settings so far.</param>
    /// <param name="now">The settings from now on.</param>
    /// <param name="data">Its data from now on.</param>
    internal RunRecord Resumed(long step, TrainingSettings before, TrainingSettings now, DataFingerprint data)
    {
        List<string> changes = [.. SettingsDifferences.Of(before.ToJson(), now.ToJson()).Select(change => $"{change.Path}: {change.Left} → {change.Right}")];
        if (Data is { } began && !began.IsSame(data))
            changes.Add($"the data: {began.Difference(data)}");
        return new RunRecord { Data = data, History = changes.Count == 0 ? History : [.. History, new SettingsChange(step, changes)] };
    }
}
