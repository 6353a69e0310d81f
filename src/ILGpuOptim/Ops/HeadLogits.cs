using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The logits of a linear head, computed for some rows at a time: scale · (x · headᵀ + bias), capped where there is a cap.</summary>
/// <param name="X">… × c.</param>
/// <param name="Head">vocabulary × c.</param>
/// <param name="Bias">vocabulary, or null.</param>
/// <param name="Scale">Multiplies the logits.</param>
/// <param name="SoftCap">The cap; 0: none.</param>
internal sealed record HeadLogits(Tensor X, Tensor Head, Tensor? Bias, float Scale, float SoftCap)
{
    /// <summary>How factors are multiplied.</summary>
    public Precision Precision { get; init; }

    /// <summary>1 / cap, for the derivative of the cap; 0 without a cap.</summary>
    public float PerCap => SoftCap == 0 ? 0 : 1 / SoftCap;

    /// <summary>The stride between rows of logits: a multiple of four, so that GPUs can load four at a time.</summary>
    public static int Stride(int vocabulary) => (vocabulary + 3) / 4 * 4;

    /// <summary>Computes the logits of rows <paramref name="first"/> to first + <paramref name="count"/>.</summary>
    public void Compute(Device device, in Block target, int first, int count)
    {
        int vocabulary = Head.Shape[0];
        var product = new GemmArguments(X.Data.Slice((long)first * X.Columns, (long)count * X.Columns), Head.Data, target, count, vocabulary, X.Columns)
        {
            Precision = Precision,
            TransposeB = true,
            StrideC = Stride(vocabulary),
            Alpha = Scale,
        };
        if (Bias is not null && SoftCap != 0)
            device.Gemm(product, new CapWithBias(Scale, SoftCap), Operand.PerColumn(Bias.Data));
        else if (Bias is not null)
            device.Gemm(product, new AddScaled(Scale), Operand.PerColumn(Bias.Data));
        else if (SoftCap != 0)
            device.Gemm(product, new Cap(SoftCap));
        else
            device.Gemm(product);
    }

    /// <summary>a += scale · b.</summary>
    private readonly struct AddScaled(float scale) : IMap2
    {
        private readonly float scale = scale;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit, ref L bias) where L : struct, ILane<L> => logit = L.Fma(L.Splat(scale), bias, logit);
    }

    /// <summary>cap · tanh(logit / cap).</summary>
    private readonly struct Cap(float cap) : IMap1
    {
        private readonly float cap = cap;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit) where L : struct, ILane<L> => logit = L.Splat(cap) * L.Tanh(logit / L.Splat(cap));
    }

    private readonly struct CapWithBias(float scale, float cap) : IMap2
    {
        private readonly float scale = scale, cap = cap;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L logit, ref L bias) where L : struct, ILane<L> =>
            logit = L.Splat(cap) * L.Tanh(L.Fma(L.Splat(scale), bias, logit) / L.Splat(cap));
    }
}
