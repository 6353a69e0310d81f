using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Attention.
public sealed partial class GpuDevice
{
    private Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>>? attentionForward, attentionBackward, attentionDistances;
    private readonly Dictionary<(MethodInfo, int), Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>>> attentionKernels = [];
    private Action<KernelConfig, GpuAttentionArguments, int, SpecializedValue<int>>? attentionDot;

    /// <summary>The elements of a head that attention on GPUs copies into shared memory at a time: 32 or 16. Tests change it.</summary>
    internal int AttentionDepth { get; set; }

    /// <inheritdoc/>
    public override bool HasNarrowAttention => !IsProcessor;

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
        pending.Launch();
        AttentionArguments a = arguments;
        GpuAttentionArguments x = Attention(a, out int form);
        long heads = (long)a.Batch * a.Heads;
        if (IsProcessor)
            Launch(attentionForward ??= Load<GpuAttentionArguments, SpecializedValue<int>>(GpuAttentionPanels.Forward), x, Blocks(a.QueryLength), heads, 1, form);
        else if (TakesTensorCores(a, a.Query, a.Key, a.Value, a.Output))
            LaunchTensor(a.Query.Type == DType.BF16 ? GpuAttentionTensor.Forward<GpuBf16Factor> : GpuAttentionTensor.Forward<GpuTf32Factor>, x, a.QueryLength, GpuAttentionTensor.ForwardQueries, heads, form);
        else
            LaunchTiles(GpuAttentionTiles.Forward, x, Blocks(a.QueryLength), heads, GpuAttentionTiles.Columns, Takes(form, a.Query, a.Key, a.Value, a.Output));
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        pending.Launch();
        AttentionArguments a = arguments;
        GpuAttentionArguments x = Attention(a, out int form);
        int count = Groups((long)a.Batch * a.Heads * a.QueryLength);
        long heads = (long)a.Batch * a.Heads, keyHeads = (long)a.Batch * a.KeyHeads;
        Block dots = Pool.Rent(count);
        x.Dots = GpuMemory.View<float>(dots);
        x.OutputGradient = GpuMemory.View(gradients.Output);
        x.QueryGradient = GpuMemory.View(gradients.Query);
        x.KeyGradient = GpuMemory.View(gradients.Key);
        x.ValueGradient = GpuMemory.View(gradients.Value);
        attentionDot ??= Load<GpuAttentionArguments, int, SpecializedValue<int>>(IsProcessor ? GpuAttentionPanels.Dot : GpuAttentionTiles.Dot);
        if (count > 0)
            attentionDot((Groups(Tiles(count, IsProcessor ? GpuAttention.Tile : GpuAttentionTiles.DotRows)), IsProcessor ? 1 : GpuAttentionTiles.Threads), x, count, new(form));
        if (gradients.DistanceBias is { } distances)
            x.DistanceGradient = GpuMemory.View<float>(distances);
        int diagonals = gradients.DistanceBias is null ? 0 : Blocks(a.QueryLength) + Blocks(a.KeyLength);
        if (!IsProcessor)
        {
            bool tensorCores = TakesTensorCores(a, a.Query, a.Key, a.Value, a.Output, gradients.Output, gradients.Query, gradients.Key, gradients.Value);
            if (tensorCores)
            {
                bool narrow = a.Query.Type == DType.BF16;
                int rows = 16 * GpuAttentionTensor.WarpsOf(a.Query.Type == DType.BF16 ? 2 : 4, TensorColumns(a.HeadSize));
                LaunchTensor(narrow ? GpuAttentionTensor.BackwardOfKeys<GpuBf16Factor> : GpuAttentionTensor.BackwardOfKeys<GpuTf32Factor>, x, a.KeyLength, rows, keyHeads, form);
                LaunchTensor(narrow ? GpuAttentionTensor.BackwardOfQueries<GpuBf16Factor> : GpuAttentionTensor.BackwardOfQueries<GpuTf32Factor>, x, a.QueryLength, rows, heads, form);
            }

            form = Takes(form, a.Query, a.Key, a.Value, a.Output, gradients.Output, gradients.Query, gradients.Key, gradients.Value);
            if (!tensorCores)
            {
                LaunchTiles(GpuAttentionTiles.BackwardOfKeys, x, Blocks(a.KeyLength), keyHeads, GpuAttentionTiles.ColumnsOfTwo, form);
                LaunchTiles(GpuAttentionTiles.BackwardOfQueries, x, Blocks(a.QueryLength), heads, GpuAttentionTiles.Columns, form);
            }

            LaunchTiles(GpuAttentionTiles.Distances, x, diagonals, a.Heads, 0, form | GpuAttention.OfDistances);
        }
        else
        {
            attentionBackward ??= Load<GpuAttentionArguments, SpecializedValue<int>>(GpuAttentionPanels.Backward);
            attentionDistances ??= Load<GpuAttentionArguments, SpecializedValue<int>>(GpuAttentionPanels.Distances);

            // Whole key heads if there are enough for all cores; else blocks of keys, then blocks of queries.
            if (keyHeads >= 4 * Accelerator.NumMultiprocessors)
            {
                Launch(attentionBackward, x, 1, keyHeads, 1, form | GpuAttention.Keys | GpuAttention.Queries);
            }
            else
            {
                Launch(attentionBackward, x, Blocks(a.KeyLength), keyHeads, 1, form | GpuAttention.Keys);
                Launch(attentionBackward, x, Blocks(a.QueryLength), heads, 1, form | GpuAttention.Queries);
            }

            Launch(attentionDistances, x, diagonals, a.Heads, 1, form | GpuAttention.OfDistances);
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

    /// <summary>Launches a kernel whose groups compute up to <paramref name="columns"/> columns of the results each; 0 for a kernel without such results.</summary>
    private void LaunchTiles(Action<GpuAttentionArguments, SpecializedValue<int>> kernel, GpuAttentionArguments x, int blocks, long heads, int columns, int form)
    {
        // Distance biases and dropout need the registers of further tiles.
        if ((form & GpuAttention.HasDistances) != 0)
            columns = Math.Min(columns, GpuAttention.Tile);
        else if ((form & GpuAttention.Drops) != 0)
            columns = Math.Min(columns, GpuAttentionTiles.ColumnsOfTwo);
        int parts = columns == 0 ? 1 : (int)Tiles(x.HeadSize, columns), own = columns == 0 ? 1 : (int)Tiles(Blocks(x.HeadSize), parts);

        // Several tiles, dropout, bounds, soft caps and distance biases need registers that leave no room for a third group.
        int groups = own > 1 || (form & (GpuAttention.Drops | GpuAttention.Bounded | GpuAttention.Caps | GpuAttention.HasDistances)) != 0 ? 2 : 3;
        Launch(AttentionKernel(kernel, GpuAttentionTiles.Threads, groups), x, blocks, heads * parts, GpuAttentionTiles.Threads, form | own - 1 << GpuAttentionTiles.TilesShift);
    }

    /// <summary>
    /// True if attention runs on tensor cores: the precision asks for them, operands are stored in the type that is multiplied (f32 as tf32), rows of heads start at multiples of 16 bytes, and heads
    /// have at most 128 elements, in whole multiples of eight.
    /// </summary>
    private bool TakesTensorCores(in AttentionArguments a, params ReadOnlySpan<Block> blocks)
    {
        bool narrow = a.Query.Type == DType.BF16;
        if (!HasTensorCores || (narrow ? a.Precision != Precision.BF16 : a.Precision == Precision.F32)
            || a.HeadSize is < 1 or > GpuAttentionTensor.MostColumns || a.HeadSize % GpuAttentionTensor.HeadUnit != 0
            || ((a.QueryStride | a.KeyStride | a.OutputStride | a.QueryHeadStep | a.KeyHeadStep) & (narrow ? 7 : 3)) != 0)
            return false;
        foreach (Block block in blocks)
        {
            if (!GpuOperand.IsAligned(block))
                return false;
        }

        return true;
    }

    /// <summary>Launches a kernel of tensor cores whose groups have <paramref name="rows"/> of <paramref name="length"/> rows.</summary>
    private void LaunchTensor(Action<GpuAttentionArguments, SpecializedValue<int>> kernel, GpuAttentionArguments x, int length, int rows, long heads, int form)
    {
        int columns = TensorColumns(x.HeadSize), threads = 2 * rows;
        Launch(
            AttentionKernel(kernel, threads, columns > 4 || (form & (GpuAttention.Drops | GpuAttention.HasDistances)) != 0 ? 2 : 3), x, (int)Tiles(length, rows), heads, threads,
            form & GpuAttentionTensor.Features | columns << GpuAttentionTensor.ColumnsShift);
    }

    private static int TensorColumns(int headSize) => (int)Tiles(headSize, 16);

    private Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>> AttentionKernel(Action<GpuAttentionArguments, SpecializedValue<int>> kernel, int threads, int groups)
    {
        if (!attentionKernels.TryGetValue((kernel.Method, threads << 8 | groups), out Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>>? loaded))
            attentionKernels[(kernel.Method, threads << 8 | groups)] = loaded = Load(kernel, Limits(threads, groups));
        return loaded;
    }

    /// <summary>The constants of the kernels of GPUs: whether all blocks can be read and written as whole vectors, and the depth of strips.</summary>
    private int Takes(int form, params ReadOnlySpan<Block> blocks)
    {
        foreach (Block block in blocks)
            form |= GpuOperand.IsAligned(block) ? 0 : GpuAttentionTiles.Words;
        return form | (AttentionDepth == 16 ? GpuAttentionTiles.Shallow : 0);
    }

    private static int Blocks(int length) => (length + GpuAttention.Tile - 1) / GpuAttention.Tile;

    private GpuAttentionArguments Attention(in AttentionArguments a, out int form)
    {
        form = (a.KeyBias is null ? 0 : GpuAttention.HasBias) | (a.Dropout > 0 ? GpuAttention.Drops : 0)
            | (a.Ranges is null ? a.Before >= a.KeyLength ? 0 : GpuAttention.Bounded : GpuAttention.Ranged | GpuAttention.Bounded)
            | (a.SoftCap > 0 ? GpuAttention.Caps : 0) | (a.DistanceBias is null ? 0 : GpuAttention.HasDistances);
        if (IsProcessor)
            form |= a.HeadSize % 8 == 0 ? GpuAttention.Direct : 0;
        if (a.Query.Type == DType.BF16)
            form |= GpuAttentionTiles.Narrow;
        if (!IsProcessor && ((a.HeadSize | a.QueryStride | a.KeyStride | a.OutputStride | a.QueryHeadStep | a.KeyHeadStep) & 3) != 0)
            form |= GpuAttentionTiles.Words;
        ArrayView<byte> bytes = ((ArrayView<float>)nothing.View).Cast<byte>();
        return new GpuAttentionArguments
        {
            Query = GpuMemory.View(a.Query),
            Key = GpuMemory.View(a.Key),
            Value = GpuMemory.View(a.Value),
            Output = GpuMemory.View(a.Output),
            LogSumExp = a.LogSumExp is { } sums ? GpuMemory.View<float>(sums) : nothing.View,
            KeyBias = a.KeyBias is { } bias ? GpuMemory.View<float>(bias) : nothing.View,
            DistanceBias = a.DistanceBias is { } distances ? GpuMemory.View<float>(distances) : nothing.View,
            Ranges = a.Ranges is { } ranges ? GpuMemory.View<int>(ranges) : ((ArrayView<float>)nothing.View).Cast<int>(),
            DistanceGradient = nothing.View,
            OutputGradient = bytes,
            QueryGradient = bytes,
            KeyGradient = bytes,
            ValueGradient = bytes,
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
