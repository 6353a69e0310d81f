using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// One update of one parameter, as its optimizer sees it. <see cref="Weights"/>, <see cref="Gradient"/> and the state by name are operands of rules; any
/// storage type, clipping and the sign of <see cref="OptimizerOptions.Maximize"/> are part of them.
/// </summary>
public readonly partial struct ParameterUpdate
{
    private readonly ParameterState state;

    internal ParameterUpdate(ParameterState state, in Operand gradient, double learningRate)
    {
        this.state = state;
        Gradient = gradient;
        LearningRate = learningRate;
    }

    /// <summary>The learning rate, multiplied by the schedule's factor.</summary>
    public double LearningRate { get; }

    /// <summary>The number of this update of the parameter, from 1.</summary>
    public long Step => state.Step;

    /// <summary>Index of the parameter in the optimizer, from 0, for seeds.</summary>
    public int Index => state.Index;

    /// <summary>The name of the parameter.</summary>
    public string Name => state.Parameter.Name;

    /// <summary>The sizes of the parameter.</summary>
    public IReadOnlyList<int> Shape => state.Parameter.Shape;

    /// <summary>Number of elements of the parameter.</summary>
    public long Length => state.Parameter.Length;

    /// <summary>The device of the parameter.</summary>
    public Device Device => state.Parameter.Device;

    /// <summary>The parameter, for a rule that reads or updates it. Storage of fewer than 32 bits is rounded stochastically.</summary>
    public Operand Weights => state.Weights;

    /// <summary>
    /// The parameter in f32, row by row, for products, parts and rules that update it more than once. Parameters of another storage type are converted
    /// before, and stored after the update.
    /// </summary>
    public Block WeightValues => state.WeightValues;

    /// <summary>The gradient, multiplied by the factor of clipping and by -1 where the loss is maximized. Its block alone has neither factor.</summary>
    public Operand Gradient { get; internal init; }

    /// <summary>A state tensor, for a rule that updates it once. Storage of fewer than 32 bits is rounded stochastically.</summary>
    /// <exception cref="KeyNotFoundException">The optimizer declared no such tensor for this parameter.</exception>
    public Operand this[string name] => state.StateOf(name);

    /// <summary>A state tensor in f32, as <see cref="WeightValues"/>.</summary>
    /// <exception cref="KeyNotFoundException">The optimizer declared no such tensor for this parameter.</exception>
    public Block StateValues(string name) => state.StateValues(name);

    internal ParameterState State => state;

    /// <summary>Runs an element-wise rule over the parameter; see <see cref="Device.Map"/>.</summary>
    public void Map<R>(in R rule, in Operand a) where R : unmanaged, IMap1
    {
        var (rows, columns) = state.Rectangle;
        Device.Map(rule, rows, columns, a);
    }

    /// <summary>Runs an element-wise rule over the parameter; see <see cref="Device.Map"/>.</summary>
    public void Map<R>(in R rule, in Operand a, in Operand b) where R : unmanaged, IMap2
    {
        var (rows, columns) = state.Rectangle;
        Device.Map(rule, rows, columns, a, b);
    }

    /// <summary>Runs an element-wise rule over the parameter; see <see cref="Device.Map"/>.</summary>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c) where R : unmanaged, IMap3
    {
        var (rows, columns) = state.Rectangle;
        Device.Map(rule, rows, columns, a, b, c);
    }

    /// <summary>Runs an element-wise rule over the parameter; see <see cref="Device.Map"/>.</summary>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c, in Operand d) where R : unmanaged, IMap4
    {
        var (rows, columns) = state.Rectangle;
        Device.Map(rule, rows, columns, a, b, c, d);
    }

    /// <summary>Runs an element-wise rule over the parameter; see <see cref="Device.Map"/>.</summary>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c, in Operand d, in Operand e) where R : unmanaged, IMap5
    {
        var (rows, columns) = state.Rectangle;
        Device.Map(rule, rows, columns, a, b, c, d, e);
    }

    /// <summary>Runs an element-wise rule over the parameter; see <see cref="Device.Map"/>.</summary>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c, in Operand d, in Operand e, in Operand f) where R : unmanaged, IMap6
    {
        var (rows, columns) = state.Rectangle;
        Device.Map(rule, rows, columns, [a, b, c, d, e, f]);
    }
}
