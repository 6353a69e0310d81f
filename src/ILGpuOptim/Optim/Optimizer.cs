using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of every optimizer.</summary>
public record OptimizerOptions
{
    /// <summary>The learning rate before the schedule's factor.</summary>
    [Range(0)]
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Weight decay; each optimizer defines how it is applied.</summary>
    [Range(0)]
    public double WeightDecay { get; init; }

    /// <summary>Maximizes the loss: gradients are negated.</summary>
    public bool Maximize { get; init; }
}

/// <summary>A parameter and the optimizer's state for it.</summary>
public sealed class ParameterState
{
    /// <summary>Distinguishes the parameter's own rounding seed from those of its state.</summary>
    private const int WeightSeed = 15;

    private readonly Block[] stored;
    private Block[] blocks;
    private Block? narrowWeights;

    internal ParameterState(Parameter parameter, OptimizerOptions options, int index, IReadOnlyList<StateTensor> declared)
    {
        Parameter = parameter;
        Options = options;
        Index = index;
        Declared = declared;
        stored = [.. declared.Select(tensor =>
        {
            Block block = parameter.Device.Pool.RentPersistent(1, tensor.Length, tensor.Type);
            parameter.Device.Fill(block, 0);
            return block;
        })];
        blocks = stored;
        IsNarrow = declared.Any(tensor => tensor.Type != DType.F32);
    }

    /// <summary>The trained parameter.</summary>
    public Parameter Parameter { get; }

    /// <summary>Its group's settings.</summary>
    public OptimizerOptions Options { get; }

    /// <summary>Index of the parameter in the optimizer, from 0. Seeds derive from it.</summary>
    public int Index { get; }

    /// <summary>The state's tensors.</summary>
    public IReadOnlyList<StateTensor> Declared { get; }

    /// <summary>Device memory of the tensors, in the same order; zero before the first step.</summary>
    public IReadOnlyList<Block> Blocks => blocks;

    /// <summary>True if some of the state is stored in fewer than 32 bits.</summary>
    internal bool IsNarrow { get; }

    /// <summary>Number of finished updates of this parameter.</summary>
    public long Step { get; internal set; }

    /// <summary>A state tensor as an operand of a rule that updates it. Narrow storage is rounded stochastically.</summary>
    public Operand At(int index) => new(blocks[index]) { Seed = blocks[index].Type == DType.F32 ? 0 : SeedOf(index) };

    /// <summary>The parameter as an operand of a rule that updates it. Narrow storage is rounded stochastically.</summary>
    public Operand Weights => new(Parameter.Data) { Seed = Parameter.IsNarrow ? SeedOf(WeightSeed) : 0 };

    /// <summary>The rectangle of an element-wise rule over the parameter: one row if the storage allows it.</summary>
    public (long Rows, long Columns) Rectangle => Parameter.Data.Type == DType.I8 ? (Parameter.Rows, Parameter.Columns) : (1, Parameter.Length);

    /// <summary>True if a rule can run over <see cref="Rectangle"/> with the state: 8-bit floats need whole blocks in each row.</summary>
    internal bool FitsRectangle => Parameter.Data.Type != DType.I8 || Parameter.Rows == 1 || Parameter.Columns % DTypes.QuantizedBlock == 0 || !blocks.Any(block => block.Type.IsFloat8());

    /// <summary>Replaces a narrow parameter by an f32 copy, for rules that cannot update narrow storage.</summary>
    internal void WidenWeights()
    {
        Block wide = Parameter.Widened();
        narrowWeights = Parameter.Data;
        Parameter.Data = wide;
    }

    /// <summary>Stores the copy of <see cref="WidenWeights"/>.</summary>
    internal void NarrowWeights()
    {
        Block wide = Parameter.Data;
        Parameter.Data = narrowWeights!.Value;
        narrowWeights = null;
        Parameter.Store(wide, SeedOf(WeightSeed));
    }

    /// <summary>Replaces narrow state by f32 copies, for rules that cannot update narrow storage.</summary>
    internal void Widen()
    {
        Device device = Parameter.Device;
        blocks = [.. stored];
        for (int i = 0; i < blocks.Length; i++)
        {
            if (stored[i].Type == DType.F32)
                continue;
            blocks[i] = device.Pool.Rent(stored[i].Length);
            device.Map(new CopyRule(), 1, stored[i].Length, stored[i], blocks[i]);
        }
    }

    /// <summary>Stores the copies of <see cref="Widen"/>.</summary>
    internal void Narrow()
    {
        Device device = Parameter.Device;
        for (int i = 0; i < blocks.Length; i++)
        {
            if (stored[i].Type == DType.F32)
                continue;
            device.Map(new CopyRule(), 1, stored[i].Length, blocks[i], new Operand(stored[i]) { Seed = SeedOf(i) });
            device.Pool.Return(blocks[i]);
        }

        blocks = stored;
    }

    /// <summary>A seed that differs for each step, parameter and tensor; never 0, which means rounding to nearest.</summary>
    private uint SeedOf(int index) => Rounding.Bits((uint)(Index * 16 + index + 1), Step) | 1;

    /// <summary>Device memory of a state tensor by name.</summary>
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

/// <summary>Sees each update of a parameter.</summary>
internal interface IUpdateObserver
{
    /// <summary>Called before the update is launched.</summary>
    void Updating(Parameter parameter);

    /// <summary>Called after the update, rounding to the storage included, was launched.</summary>
    void Updated(Parameter parameter);
}

/// <summary>
/// Updates parameters by their gradients. An update is a sequence of kernel launches and does not wait for
/// the device.
/// </summary>
public abstract class Optimizer : IDisposable
{
    private readonly List<ParameterState> states = [];
    private readonly Dictionary<Parameter, ParameterState> byParameter = [];
    private Gradients? current;
    private Block? negated;
    private bool isDisposed;

    /// <summary>The name in settings and commands.</summary>
    public abstract string Name { get; }

    /// <summary>The parameters with their state.</summary>
    public IReadOnlyList<ParameterState> States => states;

    /// <summary>The schedule's factor of every learning rate.</summary>
    public double LearningRateFactor { get; set; } = 1;

    /// <summary>A device scalar that multiplies every gradient as it is read, so that clipping needs no extra pass. Null means 1.</summary>
    public Block? GradientFactor { get; set; }

    /// <summary>Sees the updates; null: nobody does.</summary>
    internal IUpdateObserver? Observer { get; set; }

    /// <summary>The gradients of the current step, before clipping.</summary>
    protected Gradients Gradients => current ?? throw new InvalidOperationException($"{Name} has gradients only during a step");

    /// <summary>The factor of the current parameter's gradients as they are read. Null means 1.</summary>
    protected Block? UpdateFactor { get; private set; }

    /// <summary>The factor of all gradients of a step, once <see cref="BeforeStep"/> has run.</summary>
    protected virtual Block? StepFactor => GradientFactor;

    /// <summary>Bytes of all stored state.</summary>
    public long StateBytes => states.Sum(state => state.Declared.Sum(tensor => tensor.Bytes));

    /// <summary>Storage of the state that may be narrow; set before parameters are added.</summary>
    public StateStorage Storage { get; init; }

    /// <summary>True if updates access narrow state through <see cref="ParameterState.At"/>; otherwise it is widened before and narrowed after each update.</summary>
    protected virtual bool UpdatesNarrowState(ParameterState state) => false;

    /// <summary>
    /// True if updates access narrow parameters only through <see cref="ParameterState.Weights"/>; otherwise they are widened before and narrowed after
    /// each update, in one f32 buffer that parameters share.
    /// </summary>
    protected virtual bool UpdatesNarrowWeights(ParameterState state) => false;

    /// <summary>True if an update depends on the gradients of all parameters. Then <see cref="Step(Gradients, Parameter)"/> cannot be used.</summary>
    public virtual bool NeedsAllGradients => false;

    /// <summary>The device of the parameters.</summary>
    protected Device Device => states.Count > 0 ? states[0].Parameter.Device : throw new InvalidOperationException("an optimizer without parameters has no device");

    /// <summary>Declares the state of a parameter of a given shape and settings, in the order of the checkpoint.</summary>
    /// <exception cref="UserException">The optimizer cannot train this shape with these settings.</exception>
    public abstract IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options);

    /// <summary>The state of <see cref="Declare"/> in the chosen <see cref="Storage"/>.</summary>
    /// <exception cref="UserException">As <see cref="Declare"/>.</exception>
    public IReadOnlyList<StateTensor> StateOf(IReadOnlyList<int> shape, OptimizerOptions options) =>
        [.. Declare(shape, options).Select(tensor => tensor.StoredAs(Storage))];

    /// <summary>Adds a parameter with its group's settings.</summary>
    /// <exception cref="UserException">As <see cref="Declare"/>.</exception>
    public void Add(Parameter parameter, OptimizerOptions options)
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        IReadOnlyList<StateTensor> declared;
        try
        {
            Ranges.Check(options);
            declared = StateOf(parameter.Shape, options);
        }
        catch (UserException e)
        {
            throw UserException.NamingSettings($"{Name}: {parameter.Name} ({parameter}): {e}", e);
        }

        var state = new ParameterState(parameter, options, states.Count, declared);
        states.Add(state);
        byParameter.Add(parameter, state);
    }

    /// <summary>Updates every parameter that has a gradient.</summary>
    /// <param name="gradients"><see cref="Tape.Gradients"/> after the backward pass.</param>
    /// <exception cref="ObjectDisposedException">The optimizer was disposed.</exception>
    /// <exception cref="InvalidOperationException">No parameter has a gradient.</exception>
    public void Step(Gradients gradients)
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        if (states.Count > 0 && !HasAny(gradients))
            throw new InvalidOperationException($"{Name}: no parameter has a gradient; step after Tape.Backward and before Gradients.Clear, with the gradients of that tape");
        current = gradients;
        BeforeStep();
        Negate(states.Any(state => state.Options.Maximize));
        foreach (ParameterState state in states)
        {
            if (gradients.Has(state.Parameter))
                Update(state);
        }
    }

    private bool HasAny(Gradients gradients)
    {
        foreach (ParameterState state in states)
        {
            if (gradients.Has(state.Parameter))
                return true;
        }

        return false;
    }

    /// <summary>Updates one parameter, as soon as its gradient is complete. Not for optimizers that need all gradients at once.</summary>
    /// <param name="gradients"><see cref="Tape.Gradients"/> of the backward pass.</param>
    /// <param name="parameter">The parameter to update.</param>
    /// <exception cref="InvalidOperationException"><see cref="NeedsAllGradients"/>, or the parameter has no gradient.</exception>
    public void Step(Gradients gradients, Parameter parameter)
    {
        ObjectDisposedException.ThrowIf(isDisposed, this);
        current = gradients;
        if (NeedsAllGradients)
            throw new InvalidOperationException($"{Name} cannot update one parameter without the gradients of the others");
        Negate(byParameter[parameter].Options.Maximize);
        Update(byParameter[parameter]);
    }

    /// <summary>Prepares the negated factor for parameters that maximize.</summary>
    private void Negate(bool isNeeded)
    {
        if (!isNeeded)
            return;
        negated ??= Device.Pool.Rent(1);
        Device.Fill(negated.Value, -1);
        if (StepFactor is { } factor)
            Device.Map(new ScaleByRule(), 1, 1, negated.Value, factor);
    }

    private void Update(ParameterState state)
    {
        state.Step++;
        if (state.Parameter.Length == 0)
            return;
        Observer?.Updating(state.Parameter);
        UpdateFactor = state.Options.Maximize ? negated : StepFactor;
        bool widens = state.IsNarrow && !UpdatesNarrowState(state);
        if (widens)
            state.Widen();
        bool widensWeights = state.Parameter.IsNarrow && !(UpdatesNarrowWeights(state) && state.FitsRectangle);
        if (widensWeights)
            state.WidenWeights();
        Update(state, state.Options.LearningRate * LearningRateFactor);
        if (widensWeights)
            state.NarrowWeights();
        if (widens)
            state.Narrow();
        Observer?.Updated(state.Parameter);
    }

    /// <summary>Runs before the first update of a step, over all gradients.</summary>
    protected virtual void BeforeStep()
    {
    }

    /// <summary>Updates one parameter; <see cref="ParameterState.Step"/> already counts this step.</summary>
    protected abstract void Update(ParameterState state, double learningRate);

    /// <summary>The gradient as an operand that is clipped as it is read.</summary>
    protected Operand Gradient(ParameterState state) => new(Gradients[state.Parameter], Factor: UpdateFactor);

    /// <summary>Returns the state's memory to the device's pool. Repeated calls do nothing.</summary>
    public virtual void Dispose()
    {
        isDisposed = true;
        if (negated is { } factor)
            Device.Pool.Return(factor);
        negated = null;
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
