using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Optim;

/// <summary>
/// A direction in memory, for parts that need all of it before the parameter moves. The first pass updates the state, writes u and sums what it can; small
/// kernels compute the factors of the parts; the last pass reads u and moves the parameter.
/// </summary>
internal readonly struct HeldDirection
{
    private readonly ParameterUpdate update;
    private readonly Cautious? caution;
    private readonly ScalingPart[] scalings;
    private readonly Decay decay;
    private readonly double scale;
    private readonly Block scalars;
    private readonly Block? rate;
    private readonly bool isOwn;

    /// <param name="update">The parameter.</param>
    /// <param name="decay">Its weight decay.</param>
    /// <param name="scale">Multiplies the direction.</param>
    /// <param name="caution">Caution; null if there is none, or the optimizer has applied it.</param>
    /// <param name="given">The direction; null: it is written to <see cref="Direction"/>.</param>
    /// <param name="rate">A device scalar in place of the learning rate; null for the learning rate.</param>
    public HeldDirection(in ParameterUpdate update, in Decay decay, double scale, Cautious? caution, Block? given = null, Block? rate = null)
    {
        (this.update, this.decay, this.scale, this.caution, this.rate) = (update, decay, scale, caution, rate);
        scalings = update.State.Parts.Scalings;
        Direction = given ?? update.Device.Pool.Rent(update.Length);
        isOwn = given is null;
        scalars = update.Device.Pool.Rent(6);
    }

    /// <summary>u.</summary>
    public Block Direction { get; }

    /// <summary>The first pass.</summary>
    public Hold Hold => new(decay.Of(DecayForm.Gradient), caution is not null);

    /// <summary>The parameter for the penalty of the first pass; without one the gradient, which is read anyway.</summary>
    public Operand Penalized => decay.Of(DecayForm.Gradient) != 0 ? update.Weights : update.Gradient;

    /// <summary>The sum of the first pass.</summary>
    public Operand Sum => Operand.Scalar(scalars.Slice(0, 1));

    /// <summary>The factor of u, and that of all of inner · u + λp with <see cref="DecayForm.WithUpdate"/>.</summary>
    public (Operand Inner, Operand Outer) Factors => (Operand.Scalar(scalars.Slice(1, 1)), Operand.Scalar(scalars.Slice(2, 1)));

    /// <summary>Applies the parts and moves the parameter.</summary>
    /// <param name="isSummed">True if the first pass was one of <see cref="Hold"/>.</param>
    public void Move(bool isSummed)
    {
        ApplyParts(isSummed);
        var (inner, outer) = Factors;
        if (rate is { } size)
            update.Map(new RatedMoveRule(decay), update.Weights, Direction, inner, outer, Operand.Scalar(size));
        else
            update.Map(new HeldMoveRule(new(decay, update.LearningRate, 1)), update.Weights, Direction, inner, outer);
        Release();
    }

    /// <summary>Masks the direction, and computes <see cref="Factors"/>.</summary>
    /// <param name="isSummed">True if the first pass was one of <see cref="Hold"/>.</param>
    public void ApplyParts(bool isSummed)
    {
        Device device = update.Device;
        Block sum = scalars.Slice(0, 1), inner = scalars.Slice(1, 1), outer = scalars.Slice(2, 1), squares = scalars.Slice(3, 1), weights = scalars.Slice(4, 1), next = scalars.Slice(5, 1);
        if (caution is not null && !isSummed)
            update.Map(new MaskRule(Hold), Penalized, update.Gradient, Direction, Operand.Scalar(sum));
        device.Fill(inner, (float)scale);
        device.Fill(outer, 1);
        if (caution is not null)
            device.Map(new CautionRule(caution, update.Length), 1, 1, sum, inner);
        if (scalings.Length > 0)
        {
            bool needsWeights = scalings.Any(part => part.NeedsWeights);
            float with = (float)decay.Of(DecayForm.WithUpdate), before = rate is null ? (float)(1 - update.LearningRate * decay.Of(DecayForm.Before)) : 1;
            if (caution is not null || with != 0 || scale != 1 || !isSummed)
                update.Map(new DirectionNormsRule(with, before), needsWeights || with != 0 ? update.Weights : Direction, Direction, Operand.Scalar(inner), Operand.Scalar(squares), Operand.Scalar(weights));
            else if (needsWeights)
                update.Map(new WeightNormRule(before), update.Weights, Operand.Scalar(weights));
            if (rate is { } size && needsWeights && decay.Of(DecayForm.Before) != 0)
                device.Map(new DecaySquares((float)decay.Value), 1, 1, weights, size);
            if (caution is null && with == 0 && scale == 1 && isSummed)
                squares = sum;
            for (int i = 0; i < scalings.Length; i++)
            {
                Block factor = i == 0 ? outer : next;
                scalings[i].Factor(update, new DirectionNorms(squares, weights, factor));
                if (i > 0)
                    device.Map(new ScaleByRule(), 1, 1, outer, factor);
                if (i + 1 < scalings.Length)
                    device.Map(new RescaleSquares(), 1, 1, squares, factor);
            }
        }

    }

    /// <summary>Returns the memory.</summary>
    public void Release()
    {
        if (isOwn)
            update.Device.Pool.Return(Direction);
        update.Device.Pool.Return(scalars);
    }
}
