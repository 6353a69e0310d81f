using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>x W + b.</summary>
public sealed class Linear : Layer
{
    /// <summary>Makes weight and bias (zero).</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">Name, bias, layout and standard deviation of the weight.</param>
    /// <param name="inputs">Columns of x.</param>
    /// <param name="outputs">Columns of the result.</param>
    /// <param name="role">The role of the weight, which decides its storage.</param>
    public Linear(Initializer initializer, ProjectionDescription description, int inputs, int outputs, ParameterRole role = ParameterRole.Product)
    {
        (Name, Inputs, Outputs, IsTransposed) = (description.Name, inputs, outputs, !description.InputsFirst);
        Weight = Add(initializer, Name + ".weight", role, description.StandardDeviation, 0, description.Truncation, IsTransposed ? [outputs, inputs] : [inputs, outputs]);
        Bias = description.HasBias ? Add(initializer, Name + ".bias", 0, 0, outputs) : null;
    }

    /// <summary>Prefix of its parameters' names.</summary>
    public string Name { get; }

    /// <summary>Columns of x.</summary>
    public int Inputs { get; }

    /// <summary>Columns of the result.</summary>
    public int Outputs { get; }

    /// <summary>True if the weight is stored outputs × inputs; GPT-2 stores inputs × outputs.</summary>
    public bool IsTransposed { get; }

    /// <summary>The matrix, without its adapter.</summary>
    public Parameter Weight { get; }

    /// <summary>The LoRA adapter of the weight; or null.</summary>
    public LoraAdapter? Adapter { get; internal set; }

    /// <summary>The matrix with its adapter.</summary>
    public Tensor WeightFor(Tape tape) => Adapter?.WeightFor(tape) ?? Weight;

    /// <summary>Added to every row; or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>x W + b (+ residual), rows × outputs.</summary>
    public Tensor Forward(Tape tape, Tensor x, Tensor? residual = null) => tape.Linear(x, WeightFor(tape), Bias, residual, IsTransposed);

    /// <summary>residual + dropout(x W + b).</summary>
    /// <exception cref="ArgumentOutOfRangeException">The probability of dropout lies outside [0, 1).</exception>
    public Tensor Forward(Tape tape, Tensor x, Tensor residual, float dropout)
    {
        Scalars.Probability("Dropout", dropout);
        return dropout > 0 && tape.IsTraining ? tape.Add(residual, tape.Dropout(Forward(tape, x), dropout)) : Forward(tape, x, residual);
    }

    /// <summary>activation(x W + b).</summary>
    public Tensor Forward(Tape tape, Tensor x, Activation activation) => tape.LinearActivation(x, WeightFor(tape), Bias, activation, IsTransposed);
}
