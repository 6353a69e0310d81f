using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Attention.
public sealed partial class GpuDevice
{
    private Action<KernelConfig, GpuAttentionArguments, SpecializedValue<int>, SpecializedValue<int>>? attentionForward, attentionBackwardQuery, attentionBackwardKey;
    private Action<KernelConfig, GpuAttentionArguments, int, SpecializedValue<int>>? attentionDot;

    /// <inheritdoc/>
    public override void AttentionForward(in AttentionArguments arguments)
    {
        AttentionArguments a = arguments;
        GpuAttentionArguments x = Attention(a, out int flags);
        x.Blocks = (a.QueryLength + GpuAttentionKernels.Tile - 1) / GpuAttentionKernels.Tile;
        if (a.LogSumExp is not null)
            flags |= GpuAttentionKernels.KeepsLogSumExp;
        attentionForward ??= Load<GpuAttentionArguments, SpecializedValue<int>, SpecializedValue<int>>(GpuAttentionKernels.Forward);
        int groups = Groups((long)x.Blocks * a.Heads * a.Batch);
        if (groups > 0)
            attentionForward((groups, GpuAttentionKernels.Threads), x, new(a.HeadSize), new(flags));
    }

    /// <inheritdoc/>
    public override void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        AttentionArguments a = arguments;
        GpuAttentionArguments x = Attention(a, out int flags);
        int count = Groups((long)a.Batch * a.Heads * a.QueryLength);
        Block dots = Pool.Rent(count);
        x.Dots = GpuMemory.View<float>(dots);
        x.OutputGradient = GpuMemory.View<float>(gradients.Output);
        x.QueryGradient = GpuMemory.View<float>(gradients.Query);
        x.KeyGradient = GpuMemory.View<float>(gradients.Key);
        x.ValueGradient = GpuMemory.View<float>(gradients.Value);
        attentionDot ??= Load<GpuAttentionArguments, int, SpecializedValue<int>>(GpuAttentionKernels.Dot);
        attentionBackwardQuery ??= Load<GpuAttentionArguments, SpecializedValue<int>, SpecializedValue<int>>(GpuAttentionKernels.BackwardQuery);
        attentionBackwardKey ??= Load<GpuAttentionArguments, SpecializedValue<int>, SpecializedValue<int>>(GpuAttentionKernels.BackwardKey);
        if (count > 0)
        {
            attentionDot((Groups(Tiles(count, GpuAttentionKernels.Threads)), GpuAttentionKernels.Threads), x, count, new(a.HeadSize));
            x.Blocks = (a.QueryLength + GpuAttentionKernels.Tile - 1) / GpuAttentionKernels.Tile;
            attentionBackwardQuery((Groups((long)x.Blocks * a.Heads * a.Batch), GpuAttentionKernels.Threads), x, new(a.HeadSize), new(flags));
        }

        x.Blocks = (a.KeyLength + GpuAttentionKernels.Tile - 1) / GpuAttentionKernels.Tile;
        int groups = Groups((long)x.Blocks * a.KeyHeads * a.Batch);
        if (groups > 0)
            attentionBackwardKey((groups, GpuAttentionKernels.Threads), x, new(a.HeadSize), new(flags));
        Pool.Return(dots);
    }

    private GpuAttentionArguments Attention(in AttentionArguments a, out int flags)
    {
        if (a.HeadSize > GpuAttentionKernels.MostHeadSize)
            throw new NotSupportedException($"{Name}: heads of {a.HeadSize} numbers; the most is {GpuAttentionKernels.MostHeadSize}, use more heads or --device cpu");
        flags = (a.Causal ? GpuAttentionKernels.Causal : 0) | (a.KeyBias is null ? 0 : GpuAttentionKernels.HasBias) | (a.Dropout > 0 ? GpuAttentionKernels.Drops : 0);
        return new GpuAttentionArguments
        {
            Query = GpuMemory.View<float>(a.Query),
            Key = GpuMemory.View<float>(a.Key),
            Value = GpuMemory.View<float>(a.Value),
            Output = GpuMemory.View<float>(a.Output),
            LogSumExp = a.LogSumExp is { } sums ? GpuMemory.View<float>(sums) : nothing.View,
            KeyBias = a.KeyBias is { } bias ? GpuMemory.View<float>(bias) : nothing.View,
            OutputGradient = nothing.View,
            QueryGradient = nothing.View,
            KeyGradient = nothing.View,
            ValueGradient = nothing.View,
            Dots = nothing.View,
            Heads = a.Heads,
            KeyHeads = a.KeyHeads,
            QueryLength = a.QueryLength,
            KeyLength = a.KeyLength,
            KeyCapacity = a.KeyCapacity == 0 ? a.KeyLength : a.KeyCapacity,
            QueryStride = a.QueryStride,
            KeyStride = a.KeyStride,
            OutputStride = a.OutputStride,
            Scale = a.Scale,
            Keep = 1 - a.Dropout,
            Seed = a.Seed,
            Stream = a.Stream,
        };
    }
}
