using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>What every optimizer's settings have.</summary>
public record OptimizerOptions
{
    /// <summary>The learning rate before the schedule's factor.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Weight decay; how it enters is the optimizer's affair.</summary>
    public double WeightDecay { get; init; }
}

/// <summary>One tensor of a parameter's optimizer state, declared once: saving, memory plans and documentation derive from it.</summary>
/// <param name="Name">The name of the reference implementation, such as <c>exp_avg</c>.</param>
/// <param name="Shape">The sizes.</param>
/// <param name="Type">How it is stored.</param>
public sealed record StateTensor(string Name, IReadOnlyList<int> Shape, DType Type = DType.F32)
{
    /// <summary>The number of elements.</summary>
    public long Length => Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>The stored bytes.</summary>
    public long Bytes => Type.Bytes(Shape.Count == 0 ? 1 : Length / Math.Max(1, Shape[^1]), Shape.Count == 0 ? 1 : Shape[^1]);
}

/// <summary>A parameter as its optimizer sees it.</summary>
public sealed class ParameterState
{
    internal ParameterState(Parameter parameter, OptimizerOptions options, int index, IReadOnlyList<StateTensor> declared)
    {
        Parameter = parameter;
        Options = options;
        Index = index;
        Declared = declared;
        Blocks = declared.Select(tensor =>
        {
            Block block = parameter.Device.Pool.Rent(Math.Max(1, tensor.Length / Math.Max(1, tensor.Shape.LastOrDefault(1))), tensor.Shape.LastOrDefault(1), tensor.Type);
            parameter.Device.Fill(block, 0);
            return block;
        }).ToArray();
    }

    /// <summary>What is trained.</summary>
    public Parameter Parameter { get; }

    /// <summary>Its group's settings.</summary>
    public OptimizerOptions Options { get; }

    /// <summary>Its place among all parameters of the optimizer, from 0: seeds derive from it.</summary>
    public int Index { get; }

    /// <summary>The state's tensors.</summary>
    public IReadOnlyList<StateTensor> Declared { get; }

    /// <summary>Their memory, in the same order; zero before the first step.</summary>
    public IReadOnlyList<Block> Blocks { get; }

    /// <summary>Finished updates of this parameter.</summary>
    public long Step { get; internal set; }

    /// <summary>The memory of a tensor by name.</summary>
    public Block this[string name]
    {
        get
        {
            for (int i = 0; i < Declared.Count; i++)
            {
                if (Declared[i].Name == name)
                    return Blocks[i];
            }

            throw new KeyNotFoundException($"{Parameter.Name} has no state named {name}");
        }
    }
}

/// <summary>
/// Changes parameters by their gradients. An update is a list of phases over a device's kernel shapes; nothing
/// waits for the device.
/// </summary>
public abstract class Optimizer : IDisposable
{
    private readonly List<ParameterState> states = [];
    private readonly Dictionary<Parameter, ParameterState> byParameter = [];

    /// <summary>The name by which users choose it.</summary>
    public abstract string Name { get; }

    /// <summary>The parameters with their state.</summary>
    public IReadOnlyList<ParameterState> States => states;

    /// <summary>What a schedule multiplies every learning rate by.</summary>
    public double LearningRateFactor { get; set; } = 1;

    /// <summary>A device scalar that multiplies every gradient as it is read: clipping without a pass of its own. Null means 1.</summary>
    public Block? GradientFactor { get; set; }

    /// <summary>The stored bytes of all state.</summary>
    public long StateBytes => states.Sum(state => state.Declared.Sum(tensor => tensor.Bytes));

    /// <summary>Where the parameters live.</summary>
    protected Device Device => states.Count > 0 ? states[0].Parameter.Device : throw new InvalidOperationException("an optimizer without parameters has no device");

    /// <summary>The state that a parameter of a shape needs under some settings. The order is that of the checkpoint.</summary>
    /// <exception cref="UserException">The optimizer cannot train such a shape so; the message says what to do.</exception>
    public abstract IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options);

    /// <summary>Adds a parameter with its group's settings.</summary>
    /// <exception cref="UserException">As <see cref="Declare"/>.</exception>
    public void Add(Parameter parameter, OptimizerOptions options)
    {
        IReadOnlyList<StateTensor> declared;
        try
        {
            declared = Declare(parameter.Shape, options);
        }
        catch (UserException e)
        {
            throw new UserException($"{Name}: {parameter.Name} ({parameter}): {e.Message}", e);
        }

        var state = new ParameterState(parameter, options, states.Count, declared);
        states.Add(state);
        byParameter.Add(parameter, state);
    }

    /// <summary>Updates every parameter that has a gradient.</summary>
    public void Step()
    {
        BeforeStep();
        foreach (ParameterState state in states)
        {
            if (state.Parameter.HasGradient)
                Update(state);
        }
    }

    /// <summary>Updates one parameter, as soon as its gradient is complete. Not for optimizers that need all gradients at once.</summary>
    public void Step(Parameter parameter) => Update(byParameter[parameter]);

    private void Update(ParameterState state)
    {
        state.Step++;
        if (state.Parameter.Length > 0)
            Update(state, state.Options.LearningRate * LearningRateFactor);
    }

    /// <summary>Work over all gradients before the first update of a step.</summary>
    protected virtual void BeforeStep()
    {
    }

    /// <summary>Updates one parameter; <see cref="ParameterState.Step"/> already counts this step.</summary>
    protected abstract void Update(ParameterState state, double learningRate);

    /// <summary>The gradient as an operand that is clipped as it is read.</summary>
    protected Operand Gradient(ParameterState state) => new(state.Parameter.Gradient!.Value, Factor: GradientFactor);

    /// <summary>Gives the state's memory back to the device's pool.</summary>
    public virtual void Dispose()
    {
        foreach (ParameterState state in states)
        {
            foreach (Block block in state.Blocks)
                state.Parameter.Device.Pool.Return(block);
        }

        states.Clear();
        byParameter.Clear();
        GC.SuppressFinalize(this);
    }

    /// <summary>A shape as a batch of matrices over its last two sizes; a vector is one row.</summary>
    protected static (int Batch, int Rows, int Columns) Matrices(IReadOnlyList<int> shape) => shape.Count switch
    {
        0 => (1, 1, 1),
        1 => (1, 1, shape[0]),
        _ => (shape.Take(shape.Count - 2).Aggregate(1, (product, size) => product * size), shape[^2], shape[^1]),
    };
}
