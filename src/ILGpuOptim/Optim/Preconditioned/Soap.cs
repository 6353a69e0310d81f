using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Soap"/>.</summary>
public sealed record SoapOptions : AdamOptions
{
    /// <summary>The rates are those of the reference.</summary>
    public SoapOptions() => (LearningRate, Beta1, Beta2) = (3e-3, 0.95, 0.95);

    /// <summary>Decay of the Gram matrices of gradients; negative: <see cref="AdamOptions.Beta2"/>.</summary>
    [Description("decay rate of the Gram matrices of gradients; negative: beta2")]
    [Range(-1, 1, MaximumIsExclusive = true)]
    public double ShampooBeta { get; init; } = -1;

    /// <summary>Steps between refreshes of the bases.</summary>
    [Description("steps between refreshes of the bases")]
    [Range(1)]
    public int PreconditionFrequency { get; init; } = 10;

    /// <summary>Axes longer than this are not rotated.</summary>
    [Description("axes longer than this are not rotated")]
    [Range(0)]
    public int MaxPrecondDim { get; init; } = 10000;

    /// <summary>Rotates vectors too.</summary>
    [Description("rotates vectors too")]
    [FormerName("precondition_1d")]
    public bool PreconditionVectors { get; init; }

    /// <summary>Merges neighbouring axes while their product is at most <see cref="MaxPrecondDim"/>, which makes a vector of a small matrix.</summary>
    [Description("merges neighbouring axes up to max_precond_dim, which makes a vector of a small matrix")]
    public bool MergeDims { get; init; }

    /// <summary>Keeps at least two axes when merging.</summary>
    [Description("keeps at least two axes when merging")]
    public bool KeepsMatrices { get; init; }

    /// <summary>Scales each update to a root mean square of one.</summary>
    [Description("scales each update to a root mean square of 1")]
    public bool NormalizeGrads { get; init; }

    /// <summary>Enables bias correction of the moments.</summary>
    [Description("enables bias correction of the moments")]
    public bool CorrectBias { get; init; } = true;
}

/// <summary>
/// SOAP (Vyas et al., "SOAP: Improving and stabilizing Shampoo using Adam", ICLR 2025): Adam in the eigenbases of Shampoo's Gram matrices.
/// L ← β L + (1-β) G Gᵀ for each axis; G' is G rotated to the eigenvectors Q of every L; m ← β₁m + (1-β₁)G', v ← β₂v + (1-β₂)G'²; N = m / (√v + ε) is rotated back;
/// p -= lr √(1-β₂ᵏ) / (1-β₁ᵏ) N, then p *= 1 - lr · decay. The first gradient gives the first bases and no update; k counts the updates.
/// Every <see cref="SoapOptions.PreconditionFrequency"/> updates the columns of Q are sorted by falling diag(QᵀLQ), and v with them, Q becomes the orthonormal
/// columns of LQ, and m is rotated to the new Q.
/// </summary>
/// <remarks>
/// State 8mn + 8m² + 8n² bytes. Two products for each axis to rotate G and N, and one for L. The momentum is stored rotated, so it is rotated at refreshes only. A refresh
/// runs on the device (<see cref="BlockQr"/>), except for the first, whose eigenvectors are computed on the host. Rows of the stored bases are eigenvectors.
/// </remarks>
public sealed class Soap : Optimizer<SoapOptions>, IBasisOptimizer
{
    private readonly BlockQr orthonormal = new();

    Func<ParameterState, long, int, float[]>? IBasisOptimizer.BasisSource { get; set; }

    Action<ParameterState, long, int, float[]>? IBasisOptimizer.BasisComputed { get; set; }

    bool IBasisOptimizer.ComputesNoBases { get; set; }

    /// <inheritdoc/>
    public override string Name => "soap";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, SoapOptions options)
    {
        List<StateTensor> state = [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        foreach (RotatedAxis axis in RotatedAxis.Of(shape, options))
            state.AddRange([new(axis.Gram, [axis.Size, axis.Size]), new(axis.Basis, [axis.Size, axis.Size])]);
        return state;
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, SoapOptions o)
    {
        Device device = update.Device;
        IReadOnlyList<RotatedAxis> axes = RotatedAxis.Of(update.Shape, o);
        double beta = o.ShampooBeta < 0 ? o.Beta2 : o.ShampooBeta;
        long k = update.Step - 1;
        if (k == 0)
            update.Rest();
        double scale = o.CorrectBias && k > 0 ? Math.Sqrt(1 - Math.Pow(o.Beta2, k)) / (1 - Math.Pow(o.Beta1, k)) : 1;
        if (axes.Count == 0 && !o.NormalizeGrads)
        {
            if (k > 0)
                update.Move(new LowRankRules.PlainDirection(new LowRankRules.Moments(o), (float)scale), Decay.After(o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        bool isDry = ((IBasisOptimizer)this).ComputesNoBases;
        Block first = device.Pool.Rent(update.Length), second = device.Pool.Rent(update.Length), sum = device.Pool.Rent(1);
        Block gradient = update.Gradient.Block;
        Block? scaled = null;
        if (update.Gradient.Factor is { } factor)
        {
            scaled = gradient = device.Pool.Rent(update.Length);
            update.Map(new CopyRule(), update.Gradient, gradient);
        }

        if (k > 0)
        {
            Block rotated = Rotate(update, axes, gradient, first, second, back: false);
            if (axes.Count == 0)
                device.Copy(gradient, rotated);
            device.Map(new DirectionRule(new LowRankRules.Moments(o)), 1, update.Length, rotated, update.StateValues("exp_avg"), update.StateValues("exp_avg_sq"), Operand.Scalar(sum));
            if (o.NormalizeGrads)
                device.Map(new UnitRule(1f / update.Length), 1, update.Length, rotated, Operand.Scalar(sum));
            Apply(update, axes, rotated, rotated == first ? second : first, o, scale);
        }

        foreach (RotatedAxis axis in axes)
            axis.AddProducts(device, gradient, update.StateValues(axis.Gram), (float)beta);
        if (scaled is { } copy)
            device.Pool.Return(copy);
        if (k == 0)
            Begin(update, axes);
        if (axes.Count > 0 && (isDry || (k > 0 && k % o.PreconditionFrequency == 0)))
            Refresh(update, axes, k / o.PreconditionFrequency, first, second);
        foreach (Block block in (ReadOnlySpan<Block>)[first, second, sum])
            device.Pool.Return(block);
    }

    /// <summary>Rotates a tensor along every axis; returns the one of two blocks that holds the result.</summary>
    private static Block Rotate(in ParameterUpdate update, IReadOnlyList<RotatedAxis> axes, Block source, Block first, Block second, bool back)
    {
        Block from = source, to = first;
        foreach (RotatedAxis axis in axes)
        {
            update.Device.Gemm(axis.Rotation(update.StateValues(axis.Basis), from, to, back));
            (from, to) = (to, to == first ? second : first);
        }

        return axes.Count == 0 ? first : from;
    }

    /// <summary>p = (p - lr · scale · N rotated back) (1 - lr · decay); without parts, the last rotation adds to the parameter.</summary>
    private static void Apply(in ParameterUpdate update, IReadOnlyList<RotatedAxis> axes, Block direction, Block spare, SoapOptions o, double scale)
    {
        Device device = update.Device;
        Block from = direction, to = spare;
        bool adds = axes.Count > 0 && !update.State.Parts.ChangesMove;
        for (int i = 0; i < axes.Count - (adds ? 1 : 0); i++)
        {
            device.Gemm(axes[i].Rotation(update.StateValues(axes[i].Basis), from, to, back: true));
            (from, to) = (to, from);
        }

        if (adds)
            device.Gemm(axes[^1].Rotation(update.StateValues(axes[^1].Basis), from, update.WeightValues, back: true) with { Alpha = (float)(-update.LearningRate * scale), Beta = 1 }, new LossRule((float)(-update.LearningRate * o.WeightDecay)));
        else
            update.Move(from, Decay.After(o.WeightDecay), scale);
    }

    /// <summary>The first bases: eigenvectors of the Gram matrices.</summary>
    private void Begin(in ParameterUpdate update, IReadOnlyList<RotatedAxis> axes)
    {
        var bases = (IBasisOptimizer)this;
        if (bases.ComputesNoBases)
            return;
        foreach (RotatedAxis axis in axes)
        {
            Block basis = update.StateValues(axis.Basis);
            update.Device.Upload(bases.BasisSource is { } source ? Transposed(IBasisOptimizer.Given(source, update, 0, axis.Index, basis.Length), axis.Size) : axis.Eigenvectors(update.Device, update.StateValues(axis.Gram)), basis);
            Show(update, axis, basis, 0);
        }
    }

    /// <summary>Sorts the bases and v, renews the bases, and rotates m from the old bases to the new ones.</summary>
    private void Refresh(in ParameterUpdate update, IReadOnlyList<RotatedAxis> axes, long refresh, Block first, Block second)
    {
        Device device = update.Device;
        Block momentum = update.StateValues("exp_avg"), squares = update.StateValues("exp_avg_sq");
        device.Copy(Rotate(update, axes, momentum, first, second, back: true), momentum);
        var orders = new int[axes.Count][];
        for (int i = 0; i < axes.Count; i++)
        {
            RotatedAxis axis = axes[i];
            Block basis = update.StateValues(axis.Basis), image = device.Pool.Rent(basis.Length), values = device.Pool.Rent(axis.Size), order = device.Pool.Rent(axis.Size, DType.I32);
            device.Gemm(new GemmArguments(basis, update.StateValues(axis.Gram), image, axis.Size, axis.Size, axis.Size));
            device.Map(new ProductsRule(), axis.Size, axis.Size, image, basis, Operand.PerRow(values));
            orders[i] = Falling(device, values);
            device.Upload(orders[i], order);
            device.Gather(image, order, basis, axis.Size, accumulate: false);
            if (((IBasisOptimizer)this).BasisSource is { } source)
                device.Upload(Transposed(IBasisOptimizer.Given(source, update, refresh, axis.Index, basis.Length), axis.Size), basis);
            else
                orthonormal.Orthonormalise(device, basis, axis.Size, axis.Size);
            Show(update, axis, basis, refresh);
            foreach (Block block in (ReadOnlySpan<Block>)[image, values, order])
                device.Pool.Return(block);
        }

        Block indices = device.Pool.Rent(update.Length, DType.I32);
        device.Upload(RotatedAxis.Positions(axes, orders, update.Length), indices);
        device.Gather(squares, indices, first, 1, accumulate: false);
        device.Copy(first, squares);
        device.Pool.Return(indices);
        device.Copy(Rotate(update, axes, momentum, first, second, back: false), momentum);
    }

    private void Show(in ParameterUpdate update, RotatedAxis axis, Block basis, long refresh)
    {
        if (((IBasisOptimizer)this).BasisComputed is not { } observer)
            return;
        var rows = new float[basis.Length];
        update.Device.Download(basis, rows);
        observer(update.State, refresh, axis.Index, Transposed(rows, axis.Size));
    }

    /// <summary>The positions of values in falling order.</summary>
    private static int[] Falling(Device device, Block values)
    {
        var host = new float[values.Length];
        device.Download(values, host);
        int[] order = [.. Enumerable.Range(0, host.Length)];
        return [.. order.OrderByDescending(i => host[i])];
    }

    private static float[] Transposed(float[] columns, int size)
    {
        var rows = new float[columns.Length];
        for (int i = 0; i < columns.Length; i++)
            rows[i % size * size + i / size] = columns[i];
        return rows;
    }

    /// <summary>Replaces the rotated gradient by N; ΣN².</summary>
    private readonly struct DirectionRule(LowRankRules.Moments moments) : IMap4
    {
        private readonly LowRankRules.Moments moments = moments;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Update, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L m, ref L v, ref L squares) where L : struct, ILane<L>
        {
            g = moments.Direction(g, ref m, ref v);
            squares = g * g;
        }
    }

    /// <summary>N /= 10⁻³⁰ + RMS(N). Rotations keep the norm, so the rotated N gives it.</summary>
    private readonly struct UnitRule(float perElement) : IMap2
    {
        private readonly float perElement = perElement;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L n, ref L squares) where L : struct, ILane<L> => n /= L.Splat(1e-30f) + L.Sqrt(squares * L.Splat(perElement));
    }

    /// <summary>Σ ab.</summary>
    private readonly struct ProductsRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b, ref L sum) where L : struct, ILane<L> => sum = a * b;
    }
}
