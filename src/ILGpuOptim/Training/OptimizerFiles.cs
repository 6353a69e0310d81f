using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Files;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>
/// The optimizer's state in a checkpoint: one safetensors file, or with several ranks a shard of each rank that owns some, and their index. Either is
/// read by any number of ranks. Tensors are named <c>PARAMETER.TENSOR</c>, <c>optimizer.TENSOR</c> for those of the whole optimizer, and <c>PARAMETER.weights</c> for
/// trained weights of a model that is saved with others (<see cref="Optimizer.HasEvaluationWeights"/>).
/// </summary>
internal static class OptimizerFiles
{
    /// <summary>The file of a single rank's state.</summary>
    public const string Name = "optimizer.safetensors";

    /// <summary>The index of the shards of several ranks.</summary>
    public const string Index = Name + ".index.json";

    /// <summary>
    /// Writes a folder, completely or not at all: <paramref name="fill"/> on the first rank while each rank writes its state, then <paramref name="finish"/>
    /// on the first rank. If one rank fails, all throw.
    /// </summary>
    public static void WriteTogether(string folder, Trainer trainer, Action<string> fill, Action<string> finish, Func<string, string?> obstacle)
    {
        if (trainer.Communicator is not { Size: > 1 } communicator)
        {
            AtomicFolder.Write(folder, partial =>
            {
                fill(partial);
                Save(Path.Combine(partial, Name), trainer.Optimizer);
                finish(partial);
            }, obstacle);
            return;
        }

        if (communicator.Rank > 0)
        {
            if (communicator.Broadcast((string?)null) is { } partial)
                communicator.Share(ErrorOf(() => SaveShard(partial, trainer, communicator), communicator)?.Message);
            if (communicator.Broadcast((string?)null) is { } reason)
                throw new UserException(reason);
            return;
        }

        bool isAnnounced = false;
        Exception? failure = ErrorOf(() => AtomicFolder.Write(folder, partial =>
        {
            isAnnounced = true;
            communicator.Broadcast(Path.GetFullPath(partial));
            Exception? own = ErrorOf(() =>
            {
                fill(partial);
                SaveShard(partial, trainer, communicator);
                WriteIndex(partial, trainer, communicator);
            }, communicator);
            string? first = communicator.Share(own?.Message).FirstOrDefault(error => error is not null);
            if (first is not null)
                throw new IOException(first, own);
            finish(partial);
        }, obstacle), communicator);
        if (!isAnnounced)
            communicator.Broadcast((string?)null);
        communicator.Broadcast(failure is null ? null : $"{folder}: the checkpoint could not be written: {failure.Message}");
        if (failure is not null)
            throw failure;
    }

    /// <summary>The error of an action on the disk; on other ranks than the first, its message names the rank.</summary>
    private static Exception? ErrorOf(Action action, Communicator communicator)
    {
        try
        {
            action();
            return null;
        }
        catch (DirectoryNotFoundException e) when (communicator.Rank > 0)
        {
            return new IOException($"rank {communicator.Rank} does not see the folder that rank 0 made ({e.Message.TrimEnd('.')}); put runs on a file system that all ranks share", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UserException and not CommunicationException)
        {
            return communicator.Rank == 0 ? e : new IOException($"rank {communicator.Rank}: {e.Message}", e);
        }
    }

    private static string ShardName(int rank, int ranks) => $"optimizer-{rank + 1:D5}-of-{ranks:D5}.safetensors";

    /// <summary>Writes the state of this rank's parameters, and on the first rank that of the whole optimizer, which all ranks have; no file if there is none.</summary>
    private static void SaveShard(string folder, Trainer trainer, Communicator communicator)
    {
        Entry[] entries = [.. Entries(trainer.Optimizer, communicator.Rank == 0)];
        if (entries.Length > 0)
            Save(Path.Combine(folder, ShardName(communicator.Rank, communicator.Size)), entries, StoredBytes.Part);
    }

    private static void WriteIndex(string folder, Trainer trainer, Communicator communicator)
    {
        var map = new JsonObject();
        long bytes = 0;
        foreach (ParameterState state in trainer.Optimizer.States)
        {
            foreach (StateTensor tensor in state.Declared)
            {
                map[NameOf(state, tensor)] = ShardName(trainer.Optimizer.Ownership!.Of(state.Parameter), communicator.Size);
                bytes += tensor.Bytes;
            }

            if (!trainer.Optimizer.HasEvaluationWeights)
                continue;
            map[WeightsOf(state)] = ShardName(trainer.Optimizer.Ownership!.Of(state.Parameter), communicator.Size);
            bytes += trainer.Optimizer.TrainedWeights(state.Parameter).Count;
        }

        foreach (StateTensor tensor in trainer.Optimizer.SharedState)
        {
            map[$"optimizer.{tensor.Name}"] = ShardName(0, communicator.Size);
            bytes += tensor.Bytes;
        }

        var index = new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = bytes }, ["weight_map"] = map };
        File.WriteAllText(Path.Combine(folder, Index), index.ToJsonString(SettingsWriter.Indented));
    }

    private static string NameOf(ParameterState state, StateTensor tensor) => $"{state.Parameter.Name}.{tensor.Name}";

    private static string WeightsOf(ParameterState state) => $"{state.Parameter.Name}.weights";

    /// <summary>Writes the state of this rank.</summary>
    /// <param name="path">The file.</param>
    /// <param name="optimizer">The optimizer.</param>
    /// <param name="part">The most bytes that are copied at once.</param>
    public static void Save(string path, Optimizer optimizer, int part = StoredBytes.Part) => Save(path, [.. Entries(optimizer)], part);

    private static void Save(string path, Entry[] entries, int part)
    {
        using var writer = new SafetensorsWriter(path, entries.Select(entry => (entry.Name, entry.StoredType, entry.StoredShape)));
        byte[] buffer = new byte[(int)Math.Min(part, entries.Max(entry => (long?)entry.Bytes.Count) ?? 0)];
        foreach (Entry entry in entries)
        {
            entry.Bytes.ForEachPart(part, (start, count) =>
            {
                entry.Bytes.Download(start, buffer.AsSpan(0, count));
                writer.Write(entry.Name, buffer.AsSpan(0, count));
            });
        }

        writer.Finish();
    }

    /// <summary>Reads the state of this rank; <see cref="ParameterState.Step"/> is in <see cref="Checkpoint.FileName"/>.</summary>
    /// <param name="path">The file, or the index of the shards.</param>
    /// <param name="optimizer">The optimizer.</param>
    /// <param name="part">The most bytes that are copied at once.</param>
    /// <exception cref="SafetensorsException">A tensor is missing or has another size.</exception>
    public static void Load(string path, Optimizer optimizer, int part = StoredBytes.Part)
    {
        using Safetensors file = Safetensors.Open(path);
        byte[] buffer = [];
        foreach (Entry entry in Entries(optimizer, hasAllWeights: true))
        {
            if (!file.Tensors.TryGetValue(entry.Name, out SafetensorsEntry? stored))
                throw new SafetensorsException($"{path}: there is no {entry.Name}, which the optimizer's settings need; resume with the settings of the run");
            if (stored.Bytes != entry.Bytes.Count || !stored.Shape.SequenceEqual(entry.StoredShape.Select(size => (long)size)))
                throw new SafetensorsException($"{path}: {entry.Name} is {Describe(stored.Shape, stored.Bytes)}, but the optimizer's settings make it {Describe([.. entry.StoredShape.Select(size => (long)size)], entry.Bytes.Count)}; resume with the settings of the run");
            long size = stored.Bytes;
            if (buffer.Length < Math.Min(part, size))
                buffer = new byte[Math.Min(part, size)];
            entry.Bytes.ForEachPart(part, (start, count) =>
            {
                file.ReadBytes(entry.Name, start, buffer.AsSpan(0, count));
                entry.Bytes.Upload(start, buffer.AsSpan(0, count));
            });
        }
    }

    private static string Describe(IReadOnlyList<long> shape, long bytes) => $"{(shape.Count == 0 ? "one number" : string.Join('×', shape))} ({bytes} bytes)";

    private static IEnumerable<Entry> Entries(Optimizer optimizer, bool hasShared = true, bool hasAllWeights = false)
    {
        foreach (ParameterState state in optimizer.States)
        {
            foreach (StateTensor tensor in state.IsOwned ? state.Declared : [])
                yield return new(NameOf(state, tensor), tensor.Shape, new StoredBytes(state[tensor.Name], tensor.Bytes));
            if (optimizer.HasEvaluationWeights && (state.IsOwned || hasAllWeights))
                yield return new(WeightsOf(state), state.Parameter.Shape, optimizer.TrainedWeights(state.Parameter));
        }

        foreach (StateTensor tensor in hasShared && optimizer.States.Count > 0 ? optimizer.SharedState : [])
            yield return new($"optimizer.{tensor.Name}", tensor.Shape, new StoredBytes(optimizer.Shared(tensor.Name), tensor.Bytes));
    }

    private sealed record Entry(string Name, IReadOnlyList<int> Shape, StoredBytes Bytes)
    {
        public string StoredType => Bytes.Block.Type == DType.F32 ? "F32" : Bytes.Block.Type == DType.BF16 ? "BF16" : "U8";

        /// <summary>Types that share scales are stored as bytes, in rows of four where one size cannot hold their number.</summary>
        public IReadOnlyList<int> StoredShape =>
            !Bytes.Block.Type.SharesScales() ? Shape : Bytes.Count <= int.MaxValue ? [(int)Bytes.Count] : [checked((int)(Bytes.Count / 4)), 4];
    }
}
