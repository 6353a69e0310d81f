using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>Layer normalisation or root mean square normalisation of rows, with a weight and an optional bias.</summary>
public sealed class Norm : Layer
{
    private readonly NormDescription description;

    /// <summary>Makes a weight of one (of zero where the factor is 1 + weight) and a bias of zero.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">The formula.</param>
    /// <param name="columns">Elements that are normalised together.</param>
    /// <exception cref="ArgumentOutOfRangeException">ε is negative, infinite or NaN.</exception>
    public Norm(Initializer initializer, NormDescription description, int columns)
    {
        this.description = description;
        Scalars.NotNegative(description.Name, description.Epsilon, name: nameof(description.Epsilon));
        Weight = Add(initializer, description.Name + ".weight", 0, description.AddsOne ? 0 : 1, columns);
        Bias = description.HasBias ? Add(initializer, description.Name + ".bias", 0, 0, columns) : null;
    }

    /// <summary>One factor for each column.</summary>
    public Parameter Weight { get; }

    /// <summary>Added to each row; or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>Normalises each row of x, or each group of as many columns as the weight has.</summary>
    public Tensor Forward(Tape tape, Tensor x) => description.Kind == NormKind.LayerNorm
        ? tape.LayerNorm(x, Weight, Bias, description.Epsilon)
        : tape.RmsNorm(x, Weight, description.Epsilon, description.AddsOne);

    /// <summary>x, normalised where there is a norm.</summary>
    internal static Tensor Normalized(Tape tape, Norm? norm, Tensor x) => norm is null ? x : norm.Forward(tape, x);
}
