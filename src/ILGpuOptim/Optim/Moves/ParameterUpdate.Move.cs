using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>Moves of a parameter along a direction.</summary>
public readonly partial struct ParameterUpdate
{
    /// <summary>Moves the parameter along a direction without state, by the learning rate and weight decay, in one pass.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    public void Move<D>(in D direction, in Decay decay) where D : unmanaged, IDirection0 =>
        Map(new MoveRule0<D>(direction, new(decay, LearningRate, 1)), Weights, Gradient);

    /// <summary>Moves the parameter along a direction with one state tensor, by the learning rate and weight decay, in one pass.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    /// <param name="a">The state, such as <c>update["exp_avg"]</c>.</param>
    public void Move<D>(in D direction, in Decay decay, in Operand a) where D : unmanaged, IDirection1 =>
        Map(new MoveRule1<D>(direction, new(decay, LearningRate, 1)), Weights, Gradient, a);

    /// <summary>Moves the parameter along a direction with two state tensors, by the learning rate and weight decay, in one pass.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    /// <param name="a">The state, in the order of the direction's arguments.</param>
    /// <param name="b">The second state tensor.</param>
    public void Move<D>(in D direction, in Decay decay, in Operand a, in Operand b) where D : unmanaged, IDirection2 =>
        Map(new MoveRule2<D>(direction, new(decay, LearningRate, 1)), Weights, Gradient, a, b);

    /// <summary>Moves the parameter along a direction with three state tensors, by the learning rate and weight decay, in one pass.</summary>
    /// <param name="direction">u of p ← p - lr · u.</param>
    /// <param name="decay">Weight decay.</param>
    /// <param name="a">The state, in the order of the direction's arguments.</param>
    /// <param name="b">The second state tensor.</param>
    /// <param name="c">The third state tensor.</param>
    public void Move<D>(in D direction, in Decay decay, in Operand a, in Operand b, in Operand c) where D : unmanaged, IDirection3 =>
        Map(new MoveRule3<D>(direction, new(decay, LearningRate, 1)), Weights, Gradient, a, b, c);
}
