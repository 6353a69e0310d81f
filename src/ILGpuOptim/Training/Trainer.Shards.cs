using System.Diagnostics;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;

namespace ILGpuOptim.Training;

// The virtual shards of a step (TrainingSettings.Shards), which the ranks of a communicator share.
public sealed partial class Trainer
{
    /// <summary>Random streams of a shard in one step; its batches draw fewer.</summary>
    private const int StreamBits = 24;

    private readonly int localShards;
    private readonly GradientSum gradientSum;
    private readonly ShardSums? sums;
    private readonly ParameterExchange? exchange;

    /// <summary>The loss of each shard of a step; for pairs then the reward margin of each, and the accuracy of each.</summary>
    private readonly float[] shardMeasures;
    private Func<int, int>? rankOfMeasure;

    /// <summary>The number of the shard among those of this rank.</summary>
    private int shard;

    /// <summary>True for the last batch of a shard, which completes its gradients.</summary>
    private bool isLastBatch;

    /// <summary>The ranks that train together; null without others.</summary>
    public Communicator? Communicator { get; }

    /// <summary>The exchange with the other ranks; null without others.</summary>
    internal ParameterExchange? Exchange => exchange;

    /// <summary>
    /// Called in each step once its gradients are known and before updated parameters are sent: there, ranks exchange other values without waiting for
    /// parameters.
    /// </summary>
    internal Action? Agreeing { get; set; }

    /// <summary>The bytes of gradients that wait for those of other shards.</summary>
    internal long ShardBytes => sums?.Bytes ?? 0;

    private int BatchesPerStep => checked(Settings.Accumulate * Settings.Shards);

    private bool IsLastShard => shard == localShards - 1;

    private int FirstShard => (Communicator?.Rank ?? 0) * localShards;

    /// <summary>Refuses shards that the ranks cannot share equally along the tree.</summary>
    private static void CheckRanks(TrainingSettings settings, Communicator? communicator)
    {
        int ranks = communicator?.Size ?? 1, shards = settings.Shards;
        if (shards % ranks == 0)
            return;
        throw UserException.NamingSettings($"{nameof(settings.Shards):setting} {shards}: {ranks} ranks cannot share them equally; take a power of two of ranks, at most as many as shards");
    }

    /// <summary>
    /// Runs the shards of this rank. Afterwards the gradients are the sums over all shards, each on the rank that owns its parameter, and the loss is
    /// known.
    /// </summary>
    private void RunShards()
    {
        for (shard = 0; shard < localShards; shard++)
        {
            // Random numbers depend on the step and the shard, not on the rank.
            Tape.RandomStream = StreamOf(StepNumber, FirstShard + shard);
            RunBatches(FirstShard + shard);
            if (Settings.Layerwise && IsLastShard)
                break;
            ReadMeasures(FirstShard + shard);
            if (Settings.Layerwise)
                continue;
            foreach (Parameter parameter in trained)
            {
                if (exchange?.IsComplete(parameter) != true)
                    sums?.Add(Tape.Gradients, parameter, shard);
            }
        }

        Tape.RandomStream = StreamOf(StepNumber + 1, 0);
        if (Settings.Layerwise)
            return;
        exchange?.FinishGradients();
        ShareMeasures();
    }

    /// <summary>Adds up the gradients of the batches of a shard, and their losses in the first of the measures.</summary>
    private void RunBatches(int own)
    {
        ulong first = (ulong)StepNumber * (ulong)BatchesPerStep, start = first + ((ulong)own * (ulong)Settings.Accumulate);
        for (int i = 0; i < Settings.Accumulate; i++)
        {
            // Ranks stop together, between steps.
            if (start + (ulong)i > first && Communicator is null)
                Stop.ThrowIfCancellationRequested();
            isLastBatch = i == Settings.Accumulate - 1;
            batches.FillTraining(start + (ulong)i);
            BatchLosses losses = LossOfBatch(batches.TrainingWeight(first, BatchesPerStep, start + (ulong)i), onTraining: true);
            losses.AddTo(Device, measures, isFirst: i == 0);
            if (Settings.Layerwise && IsLastShard)
                CheckBeforeUpdates(own);
            Tape.Backward(losses.Total);
            Tape.Reset();
        }
    }

    /// <summary>Reads the loss of a shard, and of pairs also the margin and the accuracy.</summary>
    private void ReadMeasures(int own)
    {
        for (int i = 0; i < shardMeasures.Length; i += Settings.Shards)
            Device.Download(MeasureOf(i), shardMeasures.AsSpan(i + own, 1));
    }

    /// <summary>Replaces the loss of the last shard of this rank, and its margin and accuracy, by the sums over all shards; returns the loss.</summary>
    private float ShareMeasures()
    {
        Communicator?.Share(shardMeasures.AsSpan(), rankOfMeasure ??= i => i % Settings.Shards / localShards);
        for (int i = 0; i < shardMeasures.Length; i += Settings.Shards)
        {
            shardMeasures[i] = ShardSums.Sum(shardMeasures.AsSpan(i, Settings.Shards));
            Device.Upload(shardMeasures.AsSpan(i, 1), MeasureOf(i));
        }

        return shardMeasures[0];
    }

    /// <summary>Where the measure that begins at a place of the shards' is in those of the step, which has the gradient norm after the loss.</summary>
    private Block MeasureOf(int first) => measures.Slice(first == 0 ? 0 : (first / Settings.Shards) + 1, 1);

    private ulong StreamOf(long step, int shard) => (((ulong)step * (ulong)Settings.Shards) + (ulong)shard) << StreamBits;

    /// <summary>Begins the exchange of a gradient once it is the sum of all batches of this rank.</summary>
    private void ReduceOne(Parameter parameter)
    {
        if (!IsLastShard || !isLastBatch || !exchange!.Overlaps)
            return;
        sums?.Add(Tape.Gradients, parameter, shard);
        exchange.Complete(parameter);
    }

    /// <summary>Updates a parameter within the backward pass and frees its gradient.</summary>
    private void UpdateOne(Parameter parameter)
    {
        sums?.Add(Tape.Gradients, parameter, shard);
        if (!IsLastShard)
        {
            Tape.Gradients.Release(parameter);
            return;
        }

        if (TimesUpdates)
            Device.Synchronize();
        long updating = Stopwatch.GetTimestamp();
        exchange?.Reduce(parameter);
        if (Optimizer.Ownership?.IsHere(parameter) ?? true)
            clipping.Add(Tape.Gradients, parameter);
        exchange?.Updated(parameter, waits: true);
        halfDone = StepNumber + 1;
        Optimizer.Step(Tape.Gradients, parameter);
        Tape.Gradients.Release(parameter);
        if (TimesUpdates)
            Device.Synchronize();
        updates += Stopwatch.GetElapsedTime(updating);
    }
}
