using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>Moves of a parameter along a direction: p ← p - lr · u, with weight decay and the parts of its group.</summary>
/// <remarks>
/// Without parts, and with <see cref="DecoupledDecay"/> or <see cref="SpikeClip"/>, a direction and its move are one kernel. Other parts need the whole
/// direction first, so it is written to memory: 8 more bytes a parameter, and a scratch tensor of the parameter's length.
/// </remarks>
public readonly partial struct ParameterUpdate
{
    /// <summary>Leaves the parameter as it is in this update, for an optimizer whose first steps only fill its state. Parts have nothing to change then.</summary>
    public void Rest() => state.Parts.HasMoved = true;

    /// <summary>Moves the parameter along a direction in memory.</summary>
    /// <param name="direction">u of p ← p - lr · u: a scratch block in f32 of the parameter's length; its contents are undefined afterwards.</param>
    /// <param name="decay">Weight decay. Its form is not <see cref="DecayForm.Gradient"/>, which the direction has to include.</param>
    /// <param name="scale">Multiplies the direction.</param>
    public void Move(Block direction, in Decay decay, double scale = 1)
    {
        Decay own = state.Parts.OfDirection(Name, decay);
        if (state.Parts.HoldsDirection)
            new HeldDirection(this, own, scale, state.Parts.Caution, direction).Move(isSummed: false);
        else
            Map(new BlockMoveRule(new(own, LearningRate, scale)), Weights, direction);
    }

    /// <summary>Moves the parameter along a direction in memory by a step size that only the device knows.</summary>
    /// <param name="direction">u of p ← p - rate · u: a scratch block in f32 of the parameter's length; its contents are undefined afterwards.</param>
    /// <param name="decay">Weight decay, which the rate multiplies. Its form is not <see cref="DecayForm.Gradient"/>, which the direction has to include.</param>
    /// <param name="rate">A device scalar in place of the learning rate, which it has to include.</param>
    public void Move(Block direction, in Decay decay, Block rate) =>
        new HeldDirection(this, state.Parts.OfDirection(Name, decay), 1, state.Parts.Caution, direction, rate).Move(isSummed: false);

    /// <summary>Moves the parameter along a direction without state.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    public void Move<D>(in D direction, in Decay decay) where D : unmanaged, IDirection0
    {
        Decay own = state.Parts.Of(decay);
        if (!state.Parts.HoldsDirection)
        {
            Map(new MoveRule0<D>(direction, new(own, LearningRate, 1)), Weights, Gradient);
            return;
        }

        var held = new HeldDirection(this, own, 1, state.Parts.Caution);
        Map(new HoldRule0<D>(direction, held.Hold), held.Penalized, Gradient, held.Direction, held.Sum);
        held.Move(isSummed: true);
    }

    /// <summary>Moves the parameter along a direction with one state tensor.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    /// <param name="a">The state, such as <c>update["exp_avg"]</c>.</param>
    public void Move<D>(in D direction, in Decay decay, in Operand a) where D : unmanaged, IDirection1
    {
        Decay own = state.Parts.Of(decay);
        if (!state.Parts.HoldsDirection)
        {
            Map(new MoveRule1<D>(direction, new(own, LearningRate, 1)), Weights, Gradient, a);
            return;
        }

        var held = new HeldDirection(this, own, 1, state.Parts.Caution);
        Map(new HoldRule1<D>(direction, held.Hold), held.Penalized, Gradient, a, held.Direction, held.Sum);
        held.Move(isSummed: true);
    }

    /// <summary>Moves the parameter along a direction with two state tensors.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    /// <param name="a">The state, in the order of the direction's arguments.</param>
    /// <param name="b">The second state tensor.</param>
    public void Move<D>(in D direction, in Decay decay, in Operand a, in Operand b) where D : unmanaged, IDirection2
    {
        Decay own = state.Parts.Of(decay);
        if (!state.Parts.HoldsDirection)
        {
            Map(new MoveRule2<D>(direction, new(own, LearningRate, 1)), Weights, Gradient, a, b);
            return;
        }

        var held = new HeldDirection(this, own, 1, state.Parts.Caution);
        Map(new HoldRule2<D>(direction, held.Hold), held.Penalized, Gradient, a, b, held.Direction, held.Sum);
        held.Move(isSummed: true);
    }

    /// <summary>Moves the parameter along a direction with three state tensors.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    /// <param name="a">The state, in the order of the direction's arguments.</param>
    /// <param name="b">The second state tensor.</param>
    /// <param name="c">The third state tensor.</param>
    public void Move<D>(in D direction, in Decay decay, in Operand a, in Operand b, in Operand c) where D : unmanaged, IDirection3
    {
        Decay own = state.Parts.Of(decay);
        if (!state.Parts.HoldsDirection)
        {
            Map(new MoveRule3<D>(direction, new(own, LearningRate, 1)), Weights, Gradient, a, b, c);
            return;
        }

        var held = new HeldDirection(this, own, 1, state.Parts.Caution);
        Map(new HoldRule3<D>(direction, held.Hold), held.Penalized, Gradient, a, b, c, held.Direction);
        held.Move(isSummed: false);
    }
}
