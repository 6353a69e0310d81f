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
    private readonly bool isOwn;

    /// <param name="update">The parameter.</param>
    /// <param name="decay">Its weight decay.</param>
    /// <param name="scale">Multiplies the direction.</param>
    /// <param name="caution">Caution; null if there is none, or the optimizer has applied it.</param>
    /// <param name="given">The direction; null: it is written to <see cref="Direction"/>.</param>
    public HeldDirection(in ParameterUpdate update, in Decay decay, double scale, Cautious? caution, Block? given = null)
    {
        (this.update, this.decay, this.scale, this.caution) = (update, decay, scale, caution);
        scalings = update.State.Parts.Scalings;

        // Converts the parameter, if its storage asks for it, before the rectangle of the first pass is chosen.
        _ = update.Weights;
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

    /// <summary>Applies the parts and moves the parameter.</summary>
    /// <param name="isSummed">True if the first pass was one of <see cref="Hold"/>.</param>
    public void Move(bool isSummed)
    {
        Device device = update.Device;
        Block sum = scalars.Slice(0, 1), inner = scalars.Slice(1, 1), outer = scalars.Slice(2, 1), squares = scalars.Slice(3, 1), weights = scalars.Slice(4, 1), next = scalars.Slice(5, 1);
        var move = new Move(decay, update.LearningRate, 1);
        if (caution is not null && !isSummed)
            update.Map(new MaskRule(Hold), Penalized, update.Gradient, Direction, Operand.Scalar(sum));
        device.Map(new InnerRule(caution, update.Length, scale), 1, 1, sum, inner, outer);
        if (scalings.Length > 0)
        {
            bool needsWeights = scalings.Any(part => part.NeedsWeights);
            float with = (float)decay.Of(DecayForm.WithUpdate), before = (float)(1 - update.LearningRate * decay.Of(DecayForm.Before));
            if (caution is not null || with != 0 || scale != 1 || !isSummed)
                update.Map(new DirectionNormsRule(with, before), needsWeights || with != 0 ? update.Weights : Direction, Direction, Operand.Scalar(inner), Operand.Scalar(squares), Operand.Scalar(weights));
            else if (needsWeights)
                update.Map(new WeightNormRule(before), update.Weights, Operand.Scalar(weights));
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

        update.Map(new HeldMoveRule(move), update.Weights, Direction, Operand.Scalar(inner), Operand.Scalar(outer));
        if (isOwn)
            device.Pool.Return(Direction);
        device.Pool.Return(scalars);
    }
}
