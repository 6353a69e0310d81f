using System.Reflection;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>A learning rate factor for selected parameters.</summary>
/// <param name="Pattern">Their names; * stands for anything.</param>
/// <param name="Factor">Multiplies their learning rate; 0 leaves them unchanged.</param>
public sealed record RateFactor(string Pattern, [property: Range(0)] double Factor);

/// <summary>
/// An optimizer by name with its settings. A null setting keeps the optimizer's default. Settings may be shared by several optimizers: a setting that
/// this one does not have is an error in <see cref="Check"/> only.
/// </summary>
public sealed record OptimizerSettings : IRangeSource
{
    /// <summary>The optimizer.</summary>
    public string Name { get; init; } = "adamw";

    /// <summary>The learning rate at its peak.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Weight decay of matrices; vectors have none.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Decay of the momentum.</summary>
    public double? Beta1 { get; init; }

    /// <summary>Decay of the second moment.</summary>
    public double? Beta2 { get; init; }

    /// <summary>CAME's decay of the instability.</summary>
    public double? Beta3 { get; init; }

    /// <summary>Keeps divisions finite.</summary>
    public double? Epsilon { get; init; }

    /// <summary>Added to squared gradients (CAME, adafactor-relative), or their lower bound (adafactor).</summary>
    public double? Epsilon1 { get; init; }

    /// <summary>Adafactor's lower bound of a parameter's root mean square; added to squared deviations in CAME.</summary>
    public double? Epsilon2 { get; init; }

    /// <summary>Momentum of SGD and Muon.</summary>
    public double? Momentum { get; init; }

    /// <summary>Dampening of the gradient in SGD's momentum.</summary>
    public double? Dampening { get; init; }

    /// <summary>Nesterov's momentum, of SGD and Muon.</summary>
    public bool? Nesterov { get; init; }

    /// <summary>Adam and AdamW divide by the largest second moment so far.</summary>
    public bool? AmsGrad { get; init; }

    /// <summary>The root mean square above which Adafactor and CAME scale updates down.</summary>
    public double? ClipThreshold { get; init; }

    /// <summary>Exponent of t in the second moment's weight in adafactor.</summary>
    public double? Beta2Decay { get; init; }

    /// <summary>Exponent of t in the second moment's decay in adafactor-relative.</summary>
    public double? DecayRate { get; init; }

    /// <summary>Makes steps of adafactor-relative relative to the parameter's root mean square; off by default.</summary>
    public bool? ScaleParameter { get; init; }

    /// <summary>Makes adafactor-relative compute its step size instead of using the learning rate; off by default.</summary>
    public bool? RelativeStep { get; init; }

    /// <summary>Enables a warm-up of the computed step size, 10⁻⁶ t.</summary>
    public bool? WarmupInit { get; init; }

    /// <summary>Enables bias correction of the moments in LAMB (on by default) and CAME (off by default).</summary>
    public bool? BiasCorrection { get; init; }

    /// <summary>Multiplies gradients by 1 - β₁ in LAMB's first moment.</summary>
    public bool? GradientAveraging { get; init; }

    /// <summary>LAMB's maximum global gradient norm; 0 disables clipping.</summary>
    public double? MaxGradientNorm { get; init; }

    /// <summary>Limits LAMB's trust ratio to 1.</summary>
    public bool? TrustClip { get; init; }

    /// <summary>Applies LAMB's trust ratio without weight decay too.</summary>
    public bool? AlwaysAdapt { get; init; }

    /// <summary>Enables LAMB's trust ratio.</summary>
    public bool? TrustRatio { get; init; }

    /// <summary>Zeroes elements of LAMB's update whose sign differs from the gradient's.</summary>
    public bool? Cautious { get; init; }

    /// <summary>LAMB's decay multiplies the parameter instead of entering the ratio.</summary>
    public bool? DecoupledDecay { get; init; }

    /// <summary>That decay falls with the square of the learning rate.</summary>
    public bool? CorrectedDecay { get; init; }

    /// <summary>LAMB's variant.</summary>
    public LambForm? LambForm { get; init; }

    /// <summary>Scaling of Muon's updates; Moonlight's by default.</summary>
    public MuonScaling? MuonScaling { get; init; }

    /// <summary>Muon's variant.</summary>
    public MuonForm? MuonForm { get; init; }

    /// <summary>Muon's Newton–Schulz iterations.</summary>
    public int? Iterations { get; init; }

    /// <summary>Adds Muon's weight decay to the gradient.</summary>
    public bool? CoupledDecay { get; init; }

    /// <summary>Rank of GaLore, Fira and APOLLO.</summary>
    public int? Rank { get; init; }

    /// <summary>Number of steps between refreshes of the projection.</summary>
    public int? UpdateProjectionGap { get; init; }

    /// <summary>Which side GaLore, Fira and APOLLO project.</summary>
    public ProjectionType? ProjectionType { get; init; }

    /// <summary>Basis of the projection: random or singular vectors.</summary>
    public ProjectionBasis? ProjectionBasis { get; init; }

    /// <summary>Rounds of randomized subspace iteration.</summary>
    public int? PowerIterations { get; init; }

    /// <summary>Stores a random projection instead of regenerating it each step.</summary>
    public bool? StoreProjection { get; init; }

    /// <summary>Seeds random projections.</summary>
    public ulong? ProjectionSeed { get; init; }

    /// <summary>Enables bias correction of the moments in GaLore, Fira and APOLLO.</summary>
    public bool? CorrectBias { get; init; }

    /// <summary>The scale of GaLore, Fira (alpha) and APOLLO.</summary>
    public double? Scale { get; init; }

    /// <summary>Granularity of APOLLO's scaling factors.</summary>
    public ScaleType? ScaleType { get; init; }

    /// <summary>Applies APOLLO's scale before its limiter.</summary>
    public bool? ScaleFront { get; init; }

    /// <summary>Turns off the norm-growth limiter of Fira and APOLLO.</summary>
    public bool? DisableLimiter { get; init; }

    /// <summary>Skips the limiter's state when a gradient is zero.</summary>
    public bool? LimiterIgnoresZero { get; init; }

    /// <summary>Takes the whole projection out of Fira's residual, as in the paper.</summary>
    public bool? WholeResidual { get; init; }

    /// <summary>Size of an attention head, which shares one second moment in Adam-mini; training takes it from the model.</summary>
    public int? HeadSize { get; init; }

    /// <summary>Storage of the state that may be narrow.</summary>
    public StateStorage StateType { get; init; }

    /// <summary>The matrices inside the blocks of GPT-2, LLaMA and BERT; a model has some of the names only.</summary>
    internal static readonly IReadOnlyList<string> UsualLowRank = ["*attn*", "*mlp*", "*attention*", "*intermediate*", "*output.dense*"];

    /// <summary>Names of matrices that are trained at low rank; * stands for anything.</summary>
    public IReadOnlyList<string> LowRank { get; init; } = UsualLowRank;

    /// <summary>Learning rate factors by parameter name; factors of all matching patterns are multiplied.</summary>
    public IReadOnlyList<RateFactor> LearningRateFor { get; init; } = [];

    /// <summary>Names of parameters without weight decay, beside vectors.</summary>
    public IReadOnlyList<string> NoDecay { get; init; } = [];

    /// <summary>The same for another optimizer, without the settings that it does not have.</summary>
    /// <exception cref="UserException">There is no such optimizer.</exception>
    public OptimizerSettings For(string name)
    {
        OptimizerEntry entry = Registry.Find(name);
        OptimizerSettings named = this with { Name = entry.Name, LowRank = entry.ChoosesMatrices ? LowRank : UsualLowRank };
        return OptimizerSetting.All.Where(setting => setting.IsSet(this) && !setting.IsOf(entry)).Aggregate(named, (settings, setting) => setting.Without(settings));
    }

    /// <summary>Changes a setting by its name in files, as <c>limiter_ignores_zero=true</c>.</summary>
    /// <exception cref="UserException">There is no such setting, or the value is invalid.</exception>
    public OptimizerSettings With(string assignment)
    {
        string[] pair = assignment.Split('=', 2, StringSplitOptions.TrimEntries);
        return pair.Length == 2 ? OptimizerSetting.Find(pair[0]).Parse(this, pair[1]) : throw new UserException($"\"{assignment}\" is not an optimizer setting; write it as rank=8");
    }

    /// <summary>The range that the optimizer declares for a setting; null when it has no such setting.</summary>
    /// <param name="property">A property of these settings.</param>
    /// <exception cref="UserException">There is no such optimizer.</exception>
    public RangeAttribute? RangeOf(PropertyInfo property) => OptimizerSetting.RangeOf(property, Registry.Find(Name));

    /// <summary>Fails on settings that the optimizer does not have, which would change nothing, and on values outside their ranges.</summary>
    /// <exception cref="SettingException">A value lies outside its range.</exception>
    /// <exception cref="UserException">With the optimizers that have the setting.</exception>
    public void Check()
    {
        OptimizerEntry entry = Registry.Find(Name);
        if (OptimizerSetting.All.FirstOrDefault(setting => setting.IsSet(this) && !setting.IsOf(entry)) is { } foreign)
            throw new UserException($"{entry.Name} has no {foreign.Name}; leave it out, or take {string.Join(", ", Registry.Entries.Where(foreign.IsOf).Select(other => other.Name))}");
        if (!entry.ChoosesMatrices && !LowRank.SequenceEqual(UsualLowRank))
            throw new UserException($"{entry.Name} has no low_rank; leave it out, or take {string.Join(", ", Registry.Entries.Where(other => other.ChoosesMatrices).Select(other => other.Name))}");
        Ranges.Check(this);
    }
}
