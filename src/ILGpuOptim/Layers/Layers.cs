using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>Part of a model: it owns parameters.</summary>
public abstract class Layer
{
    private readonly List<Parameter> parameters = [];
    private readonly List<Layer> parts = [];

    /// <summary>The parameters, in the order of the model's file.</summary>
    public IReadOnlyList<Parameter> Parameters => parameters;

    /// <summary>The products within, in the order of the model's file.</summary>
    internal IEnumerable<Linear> Linears => (this is Linear linear ? [linear] : Enumerable.Empty<Linear>()).Concat(parts.SelectMany(part => part.Linears));

    /// <summary>Makes a parameter with normal random values (or constant ones where <paramref name="deviation"/> is 0).</summary>
    protected Parameter Add(Initializer initializer, string name, float deviation, float constant, params ReadOnlySpan<int> shape) =>
        Add(initializer, name, ParameterRole.Other, deviation, constant, shape);

    /// <summary>As the other, for a parameter of a role.</summary>
    protected Parameter Add(Initializer initializer, string name, ParameterRole role, float deviation, float constant, params ReadOnlySpan<int> shape)
    {
        var parameter = new Parameter(initializer.Device, name, initializer.Storage.TypeOf(role), shape);
        initializer.Fill(parameter, deviation, constant);
        parameters.Add(parameter);
        return parameter;
    }

    /// <summary>Counts a part's parameters among this layer's.</summary>
    protected T Add<T>(T part) where T : Layer
    {
        parameters.AddRange(part.Parameters);
        parts.Add(part);
        return part;
    }
}

/// <summary>Fills new parameters: each has a random stream of its own, so its values depend on the seed and its place alone.</summary>
/// <param name="device">Where the parameters live.</param>
/// <param name="seed">Repeats the same values.</param>
public sealed class Initializer(Device device, ulong seed)
{
    private ulong stream;

    /// <summary>Where the parameters live.</summary>
    public Device Device { get; } = device;

    /// <summary>How the parameters are stored.</summary>
    public ParameterStorage Storage { get; init; }

    /// <summary>Normal values of a standard deviation, or the constant where that is 0; the nearest to them that can be stored.</summary>
    public void Fill(Parameter parameter, float deviation, float constant)
    {
        Block values = parameter.IsNarrow ? Device.Pool.Rent(parameter.Length) : parameter.Data;
        if (deviation == 0)
            Device.Fill(values, constant);
        else
            Device.Random(values, RandomKind.Normal, deviation, seed, stream);
        if (parameter.IsNarrow)
            parameter.Store(values, seed: 0);
        stream++;
    }
}

/// <summary>x W + b.</summary>
public sealed class Linear : Layer
{
    /// <summary>Makes weight and bias (zero).</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="name">Prefix of the names.</param>
    /// <param name="inputs">Columns of x.</param>
    /// <param name="outputs">Columns of the result.</param>
    /// <param name="deviation">Of the weight's normal distribution.</param>
    /// <param name="transposed">Whether the weight is stored outputs × inputs; GPT-2 stores inputs × outputs.</param>
    /// <param name="bias">Whether there is one.</param>
    /// <param name="role">Of the weight, for its storage.</param>
    public Linear(Initializer initializer, string name, int inputs, int outputs, float deviation, bool transposed = false, bool bias = true, ParameterRole role = ParameterRole.Product)
    {
        (Name, Inputs, Outputs, IsTransposed) = (name, inputs, outputs, transposed);
        Weight = Add(initializer, name + ".weight", role, deviation, 0, transposed ? [outputs, inputs] : [inputs, outputs]);
        Bias = bias ? Add(initializer, name + ".bias", 0, 0, outputs) : null;
    }

    /// <summary>Prefix of its parameters' names.</summary>
    public string Name { get; }

    /// <summary>Columns of x.</summary>
    public int Inputs { get; }

    /// <summary>Columns of the result.</summary>
    public int Outputs { get; }

    /// <summary>Whether the weight is stored outputs × inputs.</summary>
    public bool IsTransposed { get; }

    /// <summary>The matrix, without its adapter.</summary>
    public Parameter Weight { get; }

    /// <summary>What is learnt beside the weight; or null.</summary>
    public LoraAdapter? Adapter { get; internal set; }

    /// <summary>The matrix with its adapter.</summary>
    public Tensor WeightFor(Tape tape) => Adapter?.WeightFor(tape) ?? Weight;

    /// <summary>Added to every row; or null.</summary>
    public Parameter? Bias { get; }

    /// <summary>x W + b (+ residual), rows × outputs.</summary>
    public Tensor Forward(Tape tape, Tensor x, Tensor? residual = null) => tape.Linear(x, WeightFor(tape), Bias, residual, IsTransposed);

    /// <summary>residual + dropout(x W + b).</summary>
    public Tensor Forward(Tape tape, Tensor x, Tensor residual, float dropout) =>
        dropout > 0 && tape.IsTraining ? tape.Add(residual, tape.Dropout(Forward(tape, x), dropout)) : Forward(tape, x, residual);

    /// <summary>The results of several layers of transposed weights side by side, rows × the sum of their outputs.</summary>
    public static Tensor Packed(Tape tape, Tensor x, IReadOnlyList<Linear> layers) =>
        tape.LinearPacked(x, [.. layers.Select(layer => layer.WeightFor(tape))], layers[0].Bias is null ? null : [.. layers.Select(layer => layer.Bias!)]);

    /// <summary>activation(x W + b).</summary>
    public Tensor Forward(Tape tape, Tensor x, Activation activation) => tape.LinearActivation(x, WeightFor(tape), Bias!, activation, IsTransposed);
}

/// <summary>A table of vectors.</summary>
public sealed class Embedding : Layer
{
    /// <summary>Makes the table.</summary>
    public Embedding(Initializer initializer, string name, int rows, int columns, float deviation) =>
        Weight = Add(initializer, name + ".weight", deviation, 0, rows, columns);

    /// <summary>rows × columns.</summary>
    public Parameter Weight { get; }

    /// <summary>The vectors of indices (+ addend).</summary>
    public Tensor Forward(Tape tape, Block indices, Tensor? addend = null) => tape.Embedding(Weight, indices, addend);
}

/// <summary>Layer normalisation with gain and bias.</summary>
public sealed class LayerNorm : Layer
{
    private readonly float epsilon;

    /// <summary>Makes a gain of one and a bias of zero.</summary>
    public LayerNorm(Initializer initializer, string name, int columns, float epsilon)
    {
        this.epsilon = epsilon;
        Weight = Add(initializer, name + ".weight", 0, 1, columns);
        Bias = Add(initializer, name + ".bias", 0, 0, columns);
    }

    /// <summary>The gain.</summary>
    public Parameter Weight { get; }

    /// <summary>The bias.</summary>
    public Parameter Bias { get; }

    /// <summary>Normalises each row.</summary>
    public Tensor Forward(Tape tape, Tensor x) => tape.LayerNorm(x, Weight, Bias, epsilon);
}

/// <summary>Dropout with its probability.</summary>
/// <param name="probability">Of zeroing an element while training.</param>
public sealed class Dropout(float probability) : Layer
{
    /// <summary>Drops elements while the tape trains.</summary>
    public Tensor Forward(Tape tape, Tensor x) => tape.Dropout(x, probability);
}

/// <summary>GPT-2's causal self-attention: packed projections, fused attention, output projection.</summary>
public sealed class CausalSelfAttention : Layer
{
    private readonly Linear packed, output;
    private readonly int heads;
    private readonly float dropout, residualDropout;

    /// <summary>Makes the two projections.</summary>
    public CausalSelfAttention(Initializer initializer, string name, int columns, int heads, float deviation, float residualDeviation, float dropout, float residualDropout)
    {
        (this.heads, this.dropout, this.residualDropout) = (heads, dropout, residualDropout);
        packed = Add(new Linear(initializer, name + ".c_attn", columns, 3 * columns, deviation));
        output = Add(new Linear(initializer, name + ".c_proj", columns, columns, residualDeviation));
    }

    /// <summary>What the scores are multiplied by; null means 1 / the square root of the size of a head.</summary>
    public float? Scale { get; init; }

    /// <summary>residual + attention(x).</summary>
    public Tensor Forward(Tape tape, Tensor x, int batch, Tensor residual) =>
        output.Forward(tape, tape.SelfAttention(packed.Forward(tape, x), batch, heads, causal: true, dropout, scale: Scale), residual, residualDropout);
}

/// <summary>GPT-2's feed-forward layer.</summary>
public sealed class Mlp : Layer
{
    private readonly Linear inner, outer;
    private readonly float residualDropout;

    /// <summary>Makes the two products.</summary>
    public Mlp(Initializer initializer, string name, int columns, int hidden, float deviation, float residualDeviation, float residualDropout)
    {
        this.residualDropout = residualDropout;
        inner = Add(new Linear(initializer, name + ".c_fc", columns, hidden, deviation));
        outer = Add(new Linear(initializer, name + ".c_proj", hidden, columns, residualDeviation));
    }

    /// <summary>The activation between the two products.</summary>
    public Activation Activation { get; init; } = Activation.GeluTanh;

    /// <summary>residual + outer(activation(inner(x))).</summary>
    public Tensor Forward(Tape tape, Tensor x, Tensor residual) =>
        outer.Forward(tape, inner.Forward(tape, x, Activation), residual, residualDropout);
}
