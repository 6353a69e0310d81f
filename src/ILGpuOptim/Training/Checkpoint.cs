using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>
/// Everything needed to resume a run: the model in Hugging Face's layout, the optimizer's state as safetensors, and
/// <c>checkpoint.json</c> with counters and the SHA-256 of each file. The data position and random numbers follow from
/// the step and the seed.
/// </summary>
public sealed record Checkpoint
{
    /// <summary>The name of the file that describes the checkpoint.</summary>
    internal const string FileName = "checkpoint.json";

    /// <summary>The number of updates so far.</summary>
    [JsonPropertyName("step")]
    public required long Step { get; init; }

    /// <summary>The optimizer's name.</summary>
    [JsonPropertyName("optimizer")]
    public required string Optimizer { get; init; }

    /// <summary>The position of the random stream; see <see cref="Tape.RandomStream"/>.</summary>
    [JsonPropertyName("random_stream")]
    public required ulong RandomStream { get; init; }

    /// <summary>The last validation loss, or null.</summary>
    [JsonPropertyName("validation_loss")]
    public double? ValidationLoss { get; init; }

    /// <summary>The statistics of the guard against spikes (<see cref="TrainingSettings.SpikeThreshold"/>), or null.</summary>
    [JsonPropertyName("spikes")]
    [JsonInclude]
    internal SpikeState? Spikes { get; init; }

    /// <summary>The number of updates in the average of the weights (<see cref="TrainingSettings.Ema"/>), which is in the folder <c>ema</c>; null without one.</summary>
    [JsonPropertyName("ema_updates")]
    [JsonInclude]
    internal long? AveragedUpdates { get; init; }

    /// <summary>The number of updates of each parameter.</summary>
    [JsonPropertyName("parameter_steps")]
    public required IReadOnlyDictionary<string, long> ParameterSteps { get; init; }

    /// <summary>The SHA-256 of each file, in hexadecimal.</summary>
    [JsonPropertyName("files")]
    public required IReadOnlyDictionary<string, string> Files { get; init; }

    /// <summary>The size limit of <see cref="FileName"/>: parameters and their steps take a few megabytes at most.</summary>
    private const long MaxBytes = 64 << 20;

    /// <summary>
    /// Writes a checkpoint folder, completely or not at all. Diverged steps are never saved. With a <see cref="Distributed.Communicator"/> all ranks call this:
    /// each writes the state of its own parameters, and the first one the rest.
    /// </summary>
    /// <param name="folder">The checkpoint folder.</param>
    /// <param name="trainer">The trainer to save.</param>
    /// <param name="tokenizer">The tokenizer to save with the model; null if unknown.</param>
    /// <param name="validationLoss">The last validation loss, or null.</param>
    /// <param name="template">The chat template of a model for conversations; null for other models.</param>
    /// <exception cref="UserException">The folder cannot be written, or holds something other than a checkpoint; an older checkpoint of that name is intact.</exception>
    /// <exception cref="DivergedException">A step since the last checkpoint diverged; nothing is written.</exception>
    /// <exception cref="InvalidOperationException">An earlier step failed within its update, or an exchange with other ranks; nothing is written.</exception>
    public static void Save(string folder, Trainer trainer, ITokenizer? tokenizer, double? validationLoss, ChatTemplate? template = null)
    {
        trainer.Settle();
        trainer.CheckWhole();
        using IDisposable? evaluated = trainer.Optimizer.HasEvaluationWeights ? trainer.UseEvaluationWeights() : null;
        try
        {
            OptimizerFiles.WriteTogether(folder, trainer, partial =>
            {
                ModelFiles.Save(partial, trainer.Model);
                if (trainer.Model.Adapters.Count > 0)
                    AdapterFiles.Save(partial, trainer.Model, trainer.Settings.From);
                tokenizer?.Save(partial);
                template?.Save(partial);
                SaveAverage(Path.Combine(partial, WeightAverage.Folder), trainer, tokenizer, template);
            }, partial =>
            {
                var checkpoint = new Checkpoint
                {
                    Step = trainer.StepNumber,
                    Optimizer = trainer.Optimizer.Name,
                    RandomStream = trainer.Tape.RandomStream,
                    Spikes = trainer.Spikes,
                    AveragedUpdates = trainer.Average?.Updates,
                    ValidationLoss = validationLoss is { } loss && double.IsFinite(loss) ? loss : null,
                    ParameterSteps = trainer.Optimizer.States.ToDictionary(state => state.Parameter.Name, state => state.Step),
                    Files = FolderFiles.Of(partial).ToDictionary(name => name, name => Hash(Path.Combine(partial, name))),
                };
                File.WriteAllText(Path.Combine(partial, FileName), JsonSerializer.Serialize(checkpoint, CheckpointJson.Default.Checkpoint));
            }, Addition);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{folder}: the checkpoint could not be written: {e.Message.TrimEnd('.')}; free some space, or choose another run folder. Earlier checkpoints are intact", e);
        }
    }

    /// <summary>Reads a checkpoint's <see cref="FileName"/> and verifies the hash of every file.</summary>
    /// <exception cref="UserException">A file is missing or was changed, or <see cref="FileName"/> is damaged.</exception>
    public static Checkpoint Open(string folder) => Open(folder, verifies: true);

    /// <summary>As <see cref="Open(string)"/>; if another rank verifies the hashes, this one need not.</summary>
    internal static Checkpoint Open(string folder, bool verifies)
    {
        string path = Path.Combine(folder, FileName);
        Checkpoint checkpoint;
        try
        {
            checkpoint = Read(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UserException)
        {
            string reason = e is UserException ? e.Message : $"{path}: {e.Message}";
            throw new UserException($"{reason.TrimEnd('.')}. The checkpoint is damaged; remove {folder} to go on from the one before it", e);
        }

        try
        {
            foreach ((string file, string hash) in checkpoint.Files)
            {
                if (verifies && Hash(Path.Combine(folder, file)) != hash)
                    throw new UserException($"{Path.Combine(folder, file)}: the file differs from the one that was saved; it was truncated or changed. Remove {folder} to go on from the checkpoint before it");
            }

            return checkpoint;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the checkpoint is damaged: {e.Message.TrimEnd('.')}. Remove {folder} to go on from the one before it", e);
        }
    }

    /// <summary>Reads a checkpoint's <see cref="FileName"/>.</summary>
    /// <exception cref="UserException">It is damaged.</exception>
    private static Checkpoint Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (SourceFile.Length(path) is var length && length > MaxBytes)
            throw new UserException($"{path}: {length:N0} bytes are more than a checkpoint's description has");
        byte[] bytes = new byte[length];
        using (FileStream stream = OpenShared(path))
            stream.ReadExactly(bytes);
        JsonFields fields = JsonFields.Parse(bytes, path), steps = fields.RequiredObject("parameter_steps"), files = fields.RequiredObject("files");
        JsonElement? random = fields.Element("random_stream");
        var checkpoint = new Checkpoint
        {
            Step = fields.RequiredCount("step"),
            Optimizer = fields.RequiredText("optimizer"),
            RandomStream = random is { ValueKind: JsonValueKind.Number } && random.Value.TryGetUInt64(out ulong position) ? position : throw fields.Error("random_stream", "must be an integer of 64 bits"),
            ValidationLoss = fields.Number("validation_loss"),
            AveragedUpdates = fields.Has("ema_updates") ? fields.RequiredCount("ema_updates") : null,
            Spikes = fields.Object("spikes") is { } spikes ? SpikesOf(spikes) : null,
            ParameterSteps = steps.Names.ToDictionary(name => name, steps.RequiredCount),
            Files = files.Names.ToDictionary(name => name, files.RequiredText),
        };
        fields.Finish();
        foreach (string name in checkpoint.Files.Keys)
        {
            // Files outside the folder are never opened or removed.
            if (!FolderFiles.IsInside(name) || name == FileName)
                throw files.Error($"\"{name}\"", "is not the name of a file beside it");
        }

        string state = checkpoint.Files.ContainsKey(OptimizerFiles.Index) ? OptimizerFiles.Index : OptimizerFiles.Name;
        return new[] { ModelFiles.Config, ModelFiles.Weights, state }.FirstOrDefault(name => !checkpoint.Files.ContainsKey(name)) is { } missing
            ? throw fields.Error("files", $"lacks {missing}") : checkpoint;
    }

    private static SpikeState SpikesOf(JsonFields fields)
    {
        var state = new SpikeState(Statistics("loss"), Statistics("gradient_norm"), fields.RequiredCount("skipped"), fields.RequiredInt("in_a_row"));
        fields.Finish();
        return state;

        RunningStatistics Statistics(string name)
        {
            JsonFields values = fields.RequiredObject(name);
            var statistics = new RunningStatistics(values.RequiredCount("count"), values.Number("mean") ?? 0, values.Number("variance") ?? 0);
            values.Finish();
            return statistics;
        }
    }

    /// <summary>Opens a file that other processes may replace or remove.</summary>
    private static FileStream OpenShared(string path) => new(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);

    /// <summary>
    /// Prevents the run that made a checkpoint from removing it (<see cref="Remove"/>) until the result is disposed. Null if the folder is not a
    /// checkpoint.
    /// </summary>
    /// <exception cref="IOException">The checkpoint was just removed, or is about to be.</exception>
    internal static IDisposable? Hold(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (Path.GetFileName(folder) == WeightAverage.Folder && Path.Combine(folder, "..", FileName) is var parent && File.Exists(parent))
            path = parent;
        if (!File.Exists(path))
            return Directory.Exists(folder) ? null : throw new DirectoryNotFoundException($"{folder}: the checkpoint was removed");
        FileStream held = OpenShared(path);
        if (File.Exists(path))
            return held;
        held.Dispose();
        throw new FileNotFoundException($"{folder}: the checkpoint was removed");
    }

    /// <summary>
    /// Removes a checkpoint, unless a process reads it, it is a link, or it holds anything that was not saved with it.
    /// </summary>
    internal static void Remove(string folder)
    {
        try
        {
            if (new DirectoryInfo(folder).LinkTarget is not null || Addition(folder) is not null)
                return;
            using var claim = new FileStream(Path.Combine(folder, FileName), FileMode.Open, FileAccess.Read, FileShare.None);

            // Windows cannot rename a folder with open files, including those of readers.
            if (OperatingSystem.IsWindows())
                claim.Dispose();

            // Renamed first, so that a partly removed folder does not look like a checkpoint.
            using var partial = new PartialFolder(folder);
            Directory.Move(folder, partial.New);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next removal tries again.
        }
    }

    /// <summary>The reason why a folder must not be removed or replaced as a checkpoint; null if there is none.</summary>
    private static string? Addition(string folder)
    {
        try
        {
            IReadOnlyDictionary<string, string> files = Read(folder).Files;
            return FolderFiles.Of(folder).FirstOrDefault(name => name != FileName && !files.ContainsKey(name)) is { } added
                ? $"it holds {added}, which was not saved with the checkpoint" : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UserException)
        {
            return "it holds no checkpoint";
        }
    }

    /// <summary>The total size of a checkpoint's files in bytes; null if it was removed.</summary>
    public static long? BytesOf(string folder)
    {
        try
        {
            return FolderFiles.Of(folder).Sum(name => new FileInfo(Path.Combine(folder, name)).Length);
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>The validation loss of a checkpoint; infinity if it has none or cannot be read.</summary>
    internal static double ValidationLossOf(string folder)
    {
        try
        {
            return Read(folder).ValidationLoss ?? double.PositiveInfinity;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UserException)
        {
            return double.PositiveInfinity;
        }
    }

    /// <summary>Restores the state of a trainer from the checkpoint.</summary>
    /// <exception cref="UserException">The checkpoint belongs to another model or optimizer.</exception>
    public void Restore(string folder, Trainer trainer)
    {
        if (Optimizer != trainer.Optimizer.Name)
            throw new UserException($"{folder}: the checkpoint was made with {Optimizer}, not {trainer.Optimizer.Name}; resume with the same optimizer");
        ModelConfig saved = ModelConfig.Load(Path.Combine(folder, ModelFiles.Config));
        if (saved.ToJson() != trainer.Model.Config.ToJson())
            throw UserException.NamingSettings($"{folder}: the checkpoint's config.json describes another model than the settings; a run keeps its model, so leave out {nameof(TrainingSettings.Model):setting}, {nameof(TrainingSettings.Layers):setting}, {nameof(TrainingSettings.Heads):setting}, {nameof(TrainingSettings.HiddenSize):setting}, {nameof(TrainingSettings.Block):setting} and, for T5, {nameof(TrainingSettings.MaskedFraction):setting} and {nameof(TrainingSettings.MeanSpan):setting}, or start a new run");
        if (trainer.Optimizer.States.FirstOrDefault(state => !ParameterSteps.ContainsKey(state.Parameter.Name)) is { } unknown)
            throw new UserException($"{Path.Combine(folder, FileName)}: parameter_steps has no {unknown.Parameter.Name}; the checkpoint is damaged");
        ModelFiles.LoadWeights(Path.Combine(folder, ModelFiles.Weights), trainer.Model);
        if (trainer.Model.Adapters.Count > 0)
            AdapterFiles.Load(folder, trainer.Model);
        OptimizerFiles.Load(Path.Combine(folder, Files.ContainsKey(OptimizerFiles.Index) ? OptimizerFiles.Index : OptimizerFiles.Name), trainer.Optimizer);
        foreach (ParameterState state in trainer.Optimizer.States)
            state.Step = ParameterSteps[state.Parameter.Name];
        RestoreAverage(folder, trainer);
        trainer.Spikes = Spikes;
        trainer.StepNumber = Step;
        trainer.Tape.RandomStream = RandomStream;
    }

    /// <summary>Writes the average of the weights as a model of its own; that of adapters as adapters of the checkpoint's model.</summary>
    private static void SaveAverage(string folder, Trainer trainer, ITokenizer? tokenizer, ChatTemplate? template)
    {
        using IDisposable? averaged = trainer.Average?.Use();
        if (averaged is null)
            return;
        Directory.CreateDirectory(folder);
        if (trainer.Model.Adapters.Count > 0)
            AdapterFiles.Save(folder, trainer.Model, "..");
        else
            ModelFiles.Save(folder, trainer.Model);
        tokenizer?.Save(folder);
        template?.Save(folder);
    }

    /// <summary>Restores the average of the weights. Without one in the checkpoint, it begins with the checkpoint's weights.</summary>
    private void RestoreAverage(string folder, Trainer trainer)
    {
        string averaged = Path.Combine(folder, WeightAverage.Folder);
        if (AveragedUpdates is not { } updates || trainer.Average is not { } average)
            return;
        average.Restore(updates, () =>
        {
            if (trainer.Model.Adapters.Count > 0)
                AdapterFiles.Load(averaged, trainer.Model);
            else
                ModelFiles.LoadWeights(Path.Combine(averaged, ModelFiles.Weights), trainer.Model);
        });
    }

    /// <summary>The SHA-256 of a file; empty for empty files, devices and pipes, which are not opened and never part of a checkpoint.</summary>
    private static string Hash(string path)
    {
        if (!SourceFile.HasContents(path))
            return "";
        using FileStream stream = OpenShared(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}

/// <summary>The generated serializer of <see cref="Checkpoint"/>.</summary>
[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(Checkpoint))]
internal sealed partial class CheckpointJson : JsonSerializerContext;
