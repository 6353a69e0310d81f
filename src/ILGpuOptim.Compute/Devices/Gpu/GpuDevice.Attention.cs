using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Attention.
public sealed partial class GpuDevice
{
    private Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>>? attentionForward, attentionBackward, attentionDistances;
    private readonly Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>>?[] tiles = new Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>>?[6];
    private Action<KernelConfig, GpuAttentionArguments, int, SpecializedValue<int>>? attentionDot;

    private int AttentionThreads => IsProcessor ? 1 : GpuAttentionKernels.Threads;

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
        pending.Launch();
        AttentionArguments a = arguments;
        GpuAttentionArguments x = Attention(a, out int form);
        int blocks = Blocks(a.QueryLength);
        if (TakesTiles(a))
        {
            LaunchTiles(0, GpuAttentionTiles.Forward, x, blocks, (long)a.Batch * a.Heads, form);
        }
        else
        {
            attentionForward ??= Load<GpuAttentionArguments, SpecializedValue<int>>(GpuAttentionKernels.Forward);
            Launch(attentionForward, x, blocks, (long)a.Batch * a.Heads, AttentionThreads, form);
        }
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        pending.Launch();
        AttentionArguments a = arguments;
        GpuAttentionArguments x = Attention(a, out int form);
        int count = Groups((long)a.Batch * a.Heads * a.QueryLength);
        Block dots = Pool.Rent(count);
        x.Dots = GpuMemory.View<float>(dots);
        x.OutputGradient = GpuMemory.View<float>(gradients.Output);
        x.QueryGradient = GpuMemory.View<float>(gradients.Query);
        x.KeyGradient = GpuMemory.View<float>(gradients.Key);
        x.ValueGradient = GpuMemory.View<float>(gradients.Value);
        attentionDot ??= Load<GpuAttentionArguments, int, SpecializedValue<int>>(GpuAttentionKernels.Dot);
        if (count > 0)
            attentionDot((Groups(Tiles(count, IsProcessor ? GpuAttentionKernels.Tile : GpuAttentionKernels.DotRows)), AttentionThreads), x, count, new(form));
        if (TakesTiles(a) && GpuOperand.IsAligned(gradients.Output) && GpuOperand.IsAligned(gradients.Query) && GpuOperand.IsAligned(gradients.Key) && GpuOperand.IsAligned(gradients.Value))
        {
            LaunchTiles(1, GpuAttentionTiles.BackwardOfKeys, x, Blocks(a.KeyLength), (long)a.Batch * a.KeyHeads, form);
            LaunchTiles(2, GpuAttentionTiles.BackwardOfQueries, x, Blocks(a.QueryLength), (long)a.Batch * a.Heads, form);
        }
        else
        {
            attentionBackward ??= Load<GpuAttentionArguments, SpecializedValue<int>>(GpuAttentionKernels.Backward);

            // Whole key heads if there are enough for all cores; else blocks of keys, then blocks of queries.
            if (IsProcessor && a.Batch * a.KeyHeads >= 4 * Accelerator.NumMultiprocessors)
            {
                Launch(attentionBackward, x, 1, (long)a.Batch * a.KeyHeads, AttentionThreads, form | GpuAttentionKernels.Keys | GpuAttentionKernels.Queries);
            }
            else
            {
                Launch(attentionBackward, x, Blocks(a.KeyLength), (long)a.Batch * a.KeyHeads, AttentionThreads, form | GpuAttentionKernels.Keys);
                Launch(attentionBackward, x, Blocks(a.QueryLength), (long)a.Batch * a.Heads, AttentionThreads, form | GpuAttentionKernels.Queries);
            }
        }

        if (gradients.DistanceBias is { } distances)
        {
            x.DistanceGradient = GpuMemory.View<float>(distances);
            attentionDistances ??= Load<GpuAttentionArguments, SpecializedValue<int>>(GpuAttentionKernels.Distances);
            Launch(attentionDistances, x, Blocks(a.QueryLength) + Blocks(a.KeyLength), a.Heads, AttentionThreads, form | GpuAttentionKernels.OfDistances);
        }

        Pool.Return(dots);
    }

    private static void Launch(
        Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>> kernel, GpuAttentionArguments x, int blocks, long heads, int threads, int form)
    {
        x.Blocks = blocks;
        int groups = Groups(blocks * heads);
        if (groups > 0)
            kernel((groups, threads), x, new(form));
    }

    private void LaunchTiles(int which, Action<GpuAttentionArguments, SpecializedValue<int>> kernel, GpuAttentionArguments x, int blocks, long heads, int form)
    {
        // Dropout, bounds, soft caps and distance biases need registers that leave no room for a third group.
        int large = (form & (GpuAttentionKernels.Drops | GpuAttentionKernels.Bounded | GpuAttentionKernels.Caps | GpuAttentionKernels.HasDistances)) != 0 ? 1 : 0;
        tiles[2 * which + large] ??= Load(kernel, Limits(GpuAttentionTiles.Threads, 3 - large));
        Launch(tiles[2 * which + large]!, x, blocks, heads, GpuAttentionTiles.Threads, form & GpuAttentionTiles.Forms);
    }

    /// <summary>True if the faster kernels of GPUs support these operands.</summary>
    private bool TakesTiles(in AttentionArguments a) =>
        !IsProcessor && a.HeadSize <= GpuAttentionTiles.LongestHead && a.HeadSize % 4 == 0 && a.QueryStride % 4 == 0 && a.KeyStride % 4 == 0 && a.OutputStride % 4 == 0 && a.QueryHeadStep % 4 == 0 && a.KeyHeadStep % 4 == 0
        && GpuOperand.IsAligned(a.Query) && GpuOperand.IsAligned(a.Key) && GpuOperand.IsAligned(a.Value) && GpuOperand.IsAligned(a.Output);

    private static int Blocks(int length) => (length + GpuAttentionKernels.Tile - 1) / GpuAttentionKernels.Tile;

    private GpuAttentionArguments Attention(in AttentionArguments a, out int form)
    {
        form = (a.KeyBias is null ? 0 : GpuAttentionKernels.HasBias) | (a.Dropout > 0 ? GpuAttentionKernels.Drops : 0) | (a.HeadSize > 32 ? 0 : GpuAttentionKernels.Narrow)
            | (a.Ranges is null ? a.Before >= a.KeyLength ? 0 : GpuAttentionKernels.Bounded : GpuAttentionKernels.Ranged | GpuAttentionKernels.Bounded)
            | (a.SoftCap > 0 ? GpuAttentionKernels.Caps : 0) | (a.DistanceBias is null ? 0 : GpuAttentionKernels.HasDistances);
        if (IsProcessor)
            form = (form & ~GpuAttentionKernels.Narrow) | GpuAttentionKernels.SingleThread | (a.HeadSize % 8 == 0 ? GpuAttentionKernels.Direct : 0);
        return new GpuAttentionArguments
        {
            Query = GpuMemory.View<float>(a.Query),
            Key = GpuMemory.View<float>(a.Key),
            Value = GpuMemory.View<float>(a.Value),
            Output = GpuMemory.View<float>(a.Output),
            LogSumExp = a.LogSumExp is { } sums ? GpuMemory.View<float>(sums) : nothing.View,
            KeyBias = a.KeyBias is { } bias ? GpuMemory.View<float>(bias) : nothing.View,
            DistanceBias = a.DistanceBias is { } distances ? GpuMemory.View<float>(distances) : nothing.View,
            Ranges = a.Ranges is { } ranges ? GpuMemory.View<int>(ranges) : ((ArrayView<float>)nothing.View).Cast<int>(),
            DistanceGradient = nothing.View,
            OutputGradient = nothing.View,
            QueryGradient = nothing.View,
            KeyGradient = nothing.View,
            ValueGradient = nothing.View,
            Dots = nothing.View,
            Batch = a.Batch,
            Heads = a.Heads,
            KeyHeads = a.KeyHeads,
            HeadSize = a.HeadSize,
            QueryLength = a.QueryLength,
            KeyLength = a.KeyLength,
            KeyCapacity = a.KeyCapacity == 0 ? a.KeyLength : a.KeyCapacity,
            QueryStride = a.QueryStride,
            KeyStride = a.KeyStride,
            OutputStride = a.OutputStride,
            QueryHeadStep = a.QueryHeadStep,
            KeyHeadStep = a.KeyHeadStep,
            Scale = a.Scale,
            SoftCap = a.SoftCap,
            Keep = 1 - a.Dropout,
            Seed = a.Seed,
            Stream = a.Stream,
            Offset = (int)Math.Min(a.KeyLength - a.QueryLength + a.After, GpuAttentionArguments.Unmasked),
            Lower = (int)Math.Max(a.KeyLength - a.QueryLength - a.Before, -GpuAttentionArguments.Unmasked),
            KeepsLogSumExp = a.LogSumExp is null ? 0 : 1,
        };
    }
}
