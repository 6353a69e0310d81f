using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// A part changes the update of any optimizer: <c>adamw+cautious</c>. Its properties are its options; settings, flags, help texts and checks derive from them,
/// as from an optimizer's. Parts act in the order of <see cref="Registry.Parts"/>, in whichever order they are named.
/// </summary>
public abstract record Part
{
    private protected Part()
    {
    }

    /// <summary>The name in settings and commands.</summary>
    public abstract string Name { get; }

    /// <summary>One line about it.</summary>
    public abstract string Summary { get; }

    /// <summary>State of a parameter in addition to the optimizer's.</summary>
    internal virtual IReadOnlyList<StateTensor> State => [];
}

/// <summary>A part that multiplies the direction of a whole parameter by a factor.</summary>
public abstract record ScalingPart : Part
{
    private protected ScalingPart()
    {
    }

    /// <summary>True if the factor depends on the norm of the parameter.</summary>
    internal virtual bool NeedsWeights => false;

    /// <summary>True if the part acts on a parameter with these settings.</summary>
    internal virtual bool ActsOn(OptimizerOptions options) => true;

    /// <summary>Computes the factor.</summary>
    internal abstract void Factor(in ParameterUpdate update, in DirectionNorms norms);
}

/// <summary>Device scalars of a direction.</summary>
/// <param name="Squares">The sum of its squares.</param>
/// <param name="Weights">The sum of the parameter's squares, if the part needs it.</param>
/// <param name="Factor">The factor to compute.</param>
internal readonly record struct DirectionNorms(Block Squares, Block Weights, Block Factor);

/// <summary>The parts of one parameter.</summary>
internal sealed class Composition
{
    private readonly DecoupledDecay? decay;
    private readonly double weightDecay;
    private readonly string names;

    public Composition(OptimizerOptions options)
    {
        names = string.Concat(options.Parts.Select(part => "+" + part.Name));
        if (options.Parts.GroupBy(part => part.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new UserException($"{twice.Key} would act twice; the optimizer has it already, or it is named twice");
        decay = options.Parts.OfType<DecoupledDecay>().SingleOrDefault();
        weightDecay = options.WeightDecay;
        Seen = decay is null ? options : options with { WeightDecay = 0 };
        Spikes = options.Parts.OfType<SpikeClip>().SingleOrDefault();
        Caution = options.Parts.OfType<Cautious>().SingleOrDefault();
        Scalings = [.. Registry.Parts.SelectMany(part => options.Parts.OfType<ScalingPart>().Where(own => own.Name == part.Name && own.ActsOn(options)))];
    }

    /// <summary>The options that the optimizer sees.</summary>
    public OptimizerOptions Seen { get; }

    public SpikeClip? Spikes { get; }

    public Cautious? Caution { get; }

    public ScalingPart[] Scalings { get; }

    /// <summary>True if the direction must be known as a whole before the parameter moves.</summary>
    public bool HoldsDirection => Caution is not null || Scalings.Length > 0;

    /// <summary>Set by a move.</summary>
    public bool HasMoved { get; set; }

    /// <summary>The weight decay of a move, from that of the optimizer.</summary>
    public Decay Of(in Decay own)
    {
        HasMoved = true;
        return decay is null ? own : new Decay(decay.DecoupledDecayForm, weightDecay);
    }

    /// <summary>The weight decay of a move along a direction that does not know the parameter.</summary>
    /// <exception cref="UserException">The part would add it to the gradient.</exception>
    public Decay OfDirection(string parameter, in Decay own)
    {
        if (own.Of(DecayForm.Gradient) != 0)
            throw new ArgumentException("this direction has to include weight decay that is added to the gradient", nameof(own));
        return decay is { DecoupledDecayForm: DecayForm.Gradient }
            ? throw new UserException($"{parameter}: this optimizer cannot add weight decay to the gradient; set decoupled_decay_form to before, with_update or after")
            : Of(own);
    }

    /// <summary>True if a part acts on the move.</summary>
    public bool ChangesMove => HoldsDirection || decay is not null;

    /// <summary>Throws if parts had no effect on the update.</summary>
    public void RequireMove(string optimizer)
    {
        if (ChangesMove && !HasMoved)
            throw new UserException($"{optimizer}: its update is not written as a direction and a move, so {names} cannot change it; leave {names} out, or use ParameterUpdate.Move in the optimizer");
    }
}
