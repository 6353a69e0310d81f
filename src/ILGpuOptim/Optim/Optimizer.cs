using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
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

    /// <summary>The parts that change the update; see <see cref="Registry.Parts"/>.</summary>
    [DerivedOption]
    public IReadOnlyList<Part> Parts { get; init; } = [];
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
    private IReadOnlyList<StateTensor>? sharedTensors;
    private Block[] shared = [];
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

    /// <summary>Called in a step for each parameter, in the order of <see cref="States"/>, as soon as it has its new value if this rank owns it; null: nothing is.</summary>
    internal Action<Parameter>? Passed { get; set; }

    /// <summary>The gradients of the current step, before clipping.</summary>
    protected Gradients Gradients => current ?? throw new InvalidOperationException($"{Name} has gradients only during a step");

    /// <summary>The factor of all gradients of a step, once <see cref="BeforeStep"/> has run.</summary>
    protected virtual Block? StepFactor => GradientFactor;

    /// <summary>Bytes of all stored state; of this rank's with a <see cref="Communicator"/>.</summary>
    public long StateBytes => states.Where(state => state.IsOwned).Sum(state => state.Declared.Sum(tensor => tensor.Bytes)) + SharedState.Sum(tensor => tensor.Bytes);

    /// <summary>State of the whole optimizer, such as a step size that all parameters share, in the order of the checkpoint. It begins with zeros.</summary>
    public IReadOnlyList<StateTensor> SharedState => sharedTensors ??= DeclareShared();

    /// <summary>True if the weights for evaluation differ from those that gradients are taken at; see <see cref="EvaluationWeights"/>.</summary>
    public virtual bool HasEvaluationWeights => false;

    /// <summary>Storage of the state that may be narrow; set before parameters are added.</summary>
    public StateStorage Storage { get; init; }

    /// <summary>True if an update depends on the gradients of all parameters. Then <see cref="Step(Gradients, Parameter)"/> cannot be used.</summary>
    public virtual bool NeedsAllGradients => false;

    /// <summary>
    /// True if the optimizer can train with a <see cref="Communicator"/>: each rank updates the parameters that it owns. An optimizer that combines values of
    /// all parameters overrides this, and completes them by <see cref="ShareAcrossRanks"/>.
    /// </summary>
    public virtual bool SupportsRanks => !NeedsAllGradients && !HasEvaluationWeights && SharedState.Count == 0 && this is not ICurvatureOptimizer;

    /// <summary>Which parameters this rank updates; null: all of them. Set before parameters are added.</summary>
    internal Ownership? Ownership { get; set; }

    /// <summary>True if this rank updates a parameter and its gradient is complete.</summary>
    protected bool HasGradient(ParameterState state) => state.IsOwned && Gradients.Has(state.Parameter);

    /// <summary>Completes values of all parameters, of which each rank has computed those of the parameters that it owns. Without other ranks, does nothing.</summary>
    /// <param name="values">One or more rows of f32 with one value for each of <see cref="States"/>, in their order.</param>
    protected void ShareAcrossRanks(in Block values) => Ownership?.Share(values);

    /// <summary>The device of the parameters.</summary>
    protected Device Device => states.Count > 0 ? states[0].Parameter.Device : throw new InvalidOperationException("an optimizer without parameters has no device");

    /// <summary>The state of a parameter of a given shape and settings in the chosen <see cref="Storage"/>, in the order of the checkpoint.</summary>
    /// <exception cref="UserException">The optimizer cannot train this shape with these settings.</exception>
    public IReadOnlyList<StateTensor> StateOf(IReadOnlyList<int> shape, OptimizerOptions options) =>
        [.. DeclareFor(shape, options).Concat(WithParts(options).Parts.SelectMany(part => part.State)).Select(tensor => tensor.StoredAs(Storage))];

    private protected abstract IReadOnlyList<StateTensor> DeclareFor(IReadOnlyList<int> shape, OptimizerOptions options);

    /// <summary>Declares <see cref="SharedState"/>.</summary>
    protected virtual IReadOnlyList<StateTensor> DeclareShared() => [];

    /// <summary>Device memory of a tensor of <see cref="SharedState"/>; there is none before the first parameter.</summary>
    /// <exception cref="KeyNotFoundException">The optimizer declared no such tensor.</exception>
    public Block Shared(string name)
    {
        for (int i = 0; i < shared.Length; i++)
        {
            if (SharedState[i].Name == name)
                return shared[i];
        }

        throw new KeyNotFoundException($"{Name} has no state named {name} of its own");
    }

    /// <summary>
    /// Puts the weights for evaluation, sampling and saving in the place of those that gradients are taken at, until the result is disposed; null where they
    /// are the same. Takes device memory for the parameters in f32.
    /// </summary>
    /// <remarks>With several ranks, each has only those of the parameters that it owns; the trainer gives them to the others.</remarks>
    public virtual IDisposable? EvaluationWeights() => null;

    /// <summary>The weights of a parameter that gradients are taken at, also while those for evaluation are in their place.</summary>
    internal virtual StoredBytes TrainedWeights(Parameter parameter) => StoredBytes.Of(parameter);

    /// <summary>Adds a parameter with its group's settings.</summary>
    /// <exception cref="UserException">As <see cref="StateOf"/>.</exception>
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

        if (GathersGradients && options.Parts.OfType<SpikeClip>().Any())
            throw new UserException($"{Name} reads all gradients before parts change them, so spike-clip would change half of its update; leave out +spike-clip");
        if (states.Count == 0)
            shared = [.. SharedState.Select(tensor => ParameterState.Rented(parameter.Device, tensor))];
        var state = new ParameterState(parameter, options, WithParts(options), states.Count, declared, Ownership?.IsHere(parameter) ?? true);
        states.Add(state);
        byParameter.Add(parameter, state);
    }

    /// <summary>The options with the parts that the optimizer's own settings ask for.</summary>
    private protected virtual OptimizerOptions WithParts(OptimizerOptions options) => options;

    /// <summary>Updates every parameter that has a gradient. Parameters of other ranks only count the update.</summary>
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
        Gather();
        foreach (ParameterState state in states)
        {
            if (gradients.Has(state.Parameter))
                Update(state);
            Passed?.Invoke(state.Parameter);
        }
    }

    /// <summary>True if <see cref="Gather"/> reads gradients.</summary>
    private protected virtual bool GathersGradients => false;

    /// <summary>Runs after <see cref="BeforeStep"/> and before the first update of a step, for a pass over all parameters.</summary>
    private protected virtual void Gather()
    {
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
        Passing(state);
        if (state.Parameter.Length == 0 || !state.IsOwned)
            return;
        Observer?.Updating(state.Parameter);
        ParameterUpdate update = UpdateOf(state);
        Block? clipped = state.Parts.Spikes?.Clip(update);
        state.Parts.HasMoved = false;
        Run(clipped is { } block ? update with { Gradient = block } : update, state.Parts.Seen);
        state.Parts.RequireMove(Name);
        if (clipped is { } used)
            Device.Pool.Return(used);
        state.Narrow();
        Observer?.Updated(state.Parameter);
    }

    /// <summary>Runs before each update of a parameter, on all ranks: for state that they all have.</summary>
    private protected virtual void Passing(ParameterState state)
    {
    }

    /// <summary>An update of a parameter by its gradient in this step.</summary>
    private protected ParameterUpdate UpdateOf(ParameterState state)
    {
        var gradient = new Operand(Gradients[state.Parameter], Factor: state.Options.Maximize ? negated : StepFactor);
        return new(state, gradient, state.Options.LearningRate * LearningRateFactor);
    }

    private protected abstract void Run(in ParameterUpdate update, OptimizerOptions options);

    /// <summary>Runs before the first update of a step, over all gradients.</summary>
    protected virtual void BeforeStep()
    {
    }

    /// <summary>Returns the state's memory to the device's pool. Repeated calls do nothing.</summary>
    public virtual void Dispose()
    {
        isDisposed = true;
        if (negated is { } factor)
            Device.Pool.Return(factor);
        negated = null;
        foreach (Block block in shared)
            Device.Pool.Return(block);
        shared = [];
        foreach (ParameterState state in states)
            state.Release();

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

/// <summary>An optimizer with its options.</summary>
/// <typeparam name="TOptions">The options of a group of parameters. They are declared here only: settings, flags, help texts and checks derive from the record.</typeparam>
public abstract class Optimizer<TOptions> : Optimizer where TOptions : OptimizerOptions
{
    /// <summary>Declares the state of a parameter of a given shape and settings, in the order of the checkpoint.</summary>
    /// <exception cref="UserException">The optimizer cannot train this shape with these settings.</exception>
    protected abstract IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, TOptions options);

    /// <summary>Updates one parameter.</summary>
    /// <param name="update">The parameter, its gradient and its state.</param>
    /// <param name="options">The settings of its group.</param>
    protected abstract void Update(in ParameterUpdate update, TOptions options);

    private protected sealed override IReadOnlyList<StateTensor> DeclareFor(IReadOnlyList<int> shape, OptimizerOptions options) => Declare(shape, Own(options));

    private protected sealed override void Run(in ParameterUpdate update, OptimizerOptions options) => Update(update, Own(options));

    private TOptions Own(OptimizerOptions options) =>
        options as TOptions ?? throw new ArgumentException($"{Name} takes {typeof(TOptions).Name}, not {options.GetType().Name}", nameof(options));
}
