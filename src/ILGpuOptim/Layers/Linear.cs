using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>x W + b, where W may be the sum of 4-bit integers and a low-rank branch.</summary>
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
        if (role == ParameterRole.Product && initializer.Quantization is { BranchRank: > 0 } quantization)
            Branch = Add(new LowRankBranch(initializer, Name, inputs, outputs, quantization.BranchRank));
        IsExpert = role == ParameterRole.Expert;
    }

    /// <summary>Prefix of its parameters' names.</summary>
    public string Name { get; }

    /// <summary>Columns of x.</summary>
    public int Inputs { get; }

    /// <summary>Columns of the result.</summary>
    public int Outputs { get; }

    /// <summary>True if the weight is stored outputs × inputs; GPT-2 stores inputs × outputs.</summary>
    public bool IsTransposed { get; }

    /// <summary>The matrix, without its branch and its adapter.</summary>
    public Parameter Weight { get; }

    /// <summary>The low-rank matrix that is added to a weight of 4-bit integers; or null.</summary>
    public LowRankBranch? Branch { get; }

    /// <summary>True for a product of one expert among several.</summary>
    internal bool IsExpert { get; }

    /// <summary>True if the product has one matrix: an adapter is added to its weight. Otherwise it is a sum of products, which read the 4-bit codes as they lie.</summary>
    internal bool HasOneWeight => Branch is null && (Adapter is null || !Weight.Data.Type.IsInt4());

    /// <summary>The LoRA adapter of the weight; or null.</summary>
    public LoraAdapter? Adapter { get; internal set; }

    /// <summary>The matrix with its adapter.</summary>
    /// <exception cref="InvalidOperationException">The product is a sum of products: a weight of 4-bit integers has a branch or an adapter.</exception>
    public Tensor WeightFor(Tape tape) => !HasOneWeight ? throw new InvalidOperationException($"{Name}: the product has no single weight, but 4-bit integers with a branch or an adapter")
        : Adapter?.WeightFor(tape) ?? Weight;

    /// <summary>Added to every row; or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>x W + b (+ residual), rows × outputs.</summary>
    public Tensor Forward(Tape tape, Tensor x, Tensor? residual = null) => HasOneWeight
        ? tape.Linear(x, WeightFor(tape), Bias, residual, IsTransposed)
        : tape.Linear(x, Weight, Bias, LowRankProducts(tape, x, residual), IsTransposed);

    /// <summary>residual + dropout(x W + b).</summary>
    /// <exception cref="ArgumentOutOfRangeException">The probability of dropout lies outside [0, 1).</exception>
    public Tensor Forward(Tape tape, Tensor x, Tensor residual, float dropout)
    {
        Scalars.Probability("Dropout", dropout);
        return dropout > 0 && tape.IsTraining ? tape.Add(residual, tape.Dropout(Forward(tape, x), dropout)) : Forward(tape, x, residual);
    }

    /// <summary>activation(x W + b).</summary>
    public Tensor Forward(Tape tape, Tensor x, Activation activation) => HasOneWeight
        ? tape.LinearActivation(x, WeightFor(tape), Bias, activation, IsTransposed)
        : tape.Activate(Forward(tape, x), activation);

    /// <summary>The products with the branch and the adapter, plus a residual.</summary>
    private Tensor? LowRankProducts(Tape tape, Tensor x, Tensor? residual)
    {
        Tensor? sum = Branch is null ? residual : LowRankProduct(tape, x, Branch.Down, Branch.Up, 1, residual);
        return Adapter is null ? sum : LowRankProduct(tape, x, Adapter.A, Adapter.B, Adapter.Options.Scale, sum);
    }

    private static Tensor LowRankProduct(Tape tape, Tensor x, Parameter down, Parameter up, float scale, Tensor? residual)
    {
        Tensor inner = tape.Linear(x, down, null, transposed: true);
        return tape.Linear(scale == 1 ? inner : tape.Affine(inner, scale), up, null, residual, transposed: true);
    }
}
