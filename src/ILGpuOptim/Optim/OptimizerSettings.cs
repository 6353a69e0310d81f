using System.Reflection;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>The learning rate of some parameters.</summary>
/// <param name="Pattern">Matches their names; * stands for anything.</param>
/// <param name="Factor">Multiplies their learning rate; 0 leaves them unchanged.</param>
public sealed record RateFactor(string Pattern, [property: Range(0)] double Factor);

/// <summary>
/// An optimizer's name and settings; null means the optimizer's own default. Several optimizers may share these settings, so settings that an
/// optimizer does not have are no error until <see cref="Check"/>.
/// </summary>
public sealed record OptimizerSettings : IRangeSource
{
    /// <summary>The name of the optimizer.</summary>
    public string Name { get; init; } = "adamw";

    /// <summary>The peak learning rate.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Weight decay of matrices; vectors have none.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Decay rate of the first moment.</summary>
    public double? Beta1 { get; init; }

    /// <summary>Decay rate of the second moment.</summary>
    public double? Beta2 { get; init; }

    /// <summary>Decay rate of CAME's confidence statistic.</summary>
    public double? Beta3 { get; init; }

    /// <summary>The term added to denominators.</summary>
    public double? Epsilon { get; init; }

    /// <summary>The term that CAME and Adafactor add to squared gradients; in PyTorch's Adafactor, its square is the lower bound of the second moment.</summary>
    public double? Epsilon1 { get; init; }

    /// <summary>The lower bound of the parameter scale in Adafactor; the term that CAME adds to squared residuals.</summary>
    public double? Epsilon2 { get; init; }

    /// <summary>Momentum of SGD and Muon.</summary>
    public double? Momentum { get; init; }

    /// <summary>Dampening of SGD's momentum.</summary>
    public double? Dampening { get; init; }

    /// <summary>Enables Nesterov momentum in SGD and Muon.</summary>
    public bool? Nesterov { get; init; }

    /// <summary>Enables AMSGrad in Adam and AdamW.</summary>
    public bool? AmsGrad { get; init; }

    /// <summary>The root mean square to which Adafactor and CAME clip updates.</summary>
    public double? ClipThreshold { get; init; }

    /// <summary>The exponent of t in the second-moment decay of PyTorch's Adafactor.</summary>
    public double? Beta2Decay { get; init; }

    /// <summary>The exponent of t in the second-moment decay of Hugging Face's Adafactor.</summary>
    public double? DecayRate { get; init; }

    /// <summary>Scales the steps of Hugging Face's Adafactor by the size of the parameter; off by default.</summary>
    public bool? ScaleParameter { get; init; }

    /// <summary>Lets Hugging Face's Adafactor choose its step size instead of the learning rate; off by default.</summary>
    public bool? RelativeStep { get; init; }

    /// <summary>Warms up the relative steps of Hugging Face's Adafactor, from 10⁻⁶ t.</summary>
    public bool? WarmupInit { get; init; }

    /// <summary>Enables bias correction of the moments, in LAMB (on by default) and CAME (off).</summary>
    public bool? BiasCorrection { get; init; }

    /// <summary>Weights the gradient by 1 − β1 in LAMB's first moment.</summary>
    public bool? GradientAveraging { get; init; }

    /// <summary>The global norm to which LAMB clips gradients; 0 disables clipping.</summary>
    public double? MaxGradientNorm { get; init; }

    /// <summary>Limits LAMB's trust ratio to 1.</summary>
    public bool? TrustClip { get; init; }

    /// <summary>Applies LAMB's trust ratio also to parameters without weight decay.</summary>
    public bool? AlwaysAdapt { get; init; }

    /// <summary>Enables LAMB's trust ratio.</summary>
    public bool? TrustRatio { get; init; }

    /// <summary>Masks elements of LAMB's update whose sign differs from the gradient's (cautious update).</summary>
    public bool? Cautious { get; init; }

    /// <summary>Applies LAMB's weight decay directly to the parameter instead of including it in the trust ratio.</summary>
    public bool? DecoupledDecay { get; init; }

    /// <summary>Scales the decoupled weight decay with the square of the learning rate.</summary>
    public bool? CorrectedDecay { get; init; }

    /// <summary>The variant of LAMB.</summary>
    public LambForm? LambForm { get; init; }

    /// <summary>The scaling of Muon's updates; Moonlight's by default.</summary>
    public MuonScaling? MuonScaling { get; init; }

    /// <summary>The variant of Muon.</summary>
    public MuonForm? MuonForm { get; init; }

    /// <summary>The number of Newton–Schulz iterations in Muon.</summary>
    public int? Iterations { get; init; }

    /// <summary>Adds Muon's weight decay to the gradient (coupled weight decay).</summary>
    public bool? CoupledDecay { get; init; }

    /// <summary>The projection rank of GaLore, Fira and APOLLO.</summary>
    public int? Rank { get; init; }

    /// <summary>Steps between updates of the projection.</summary>
    public int? UpdateProjectionGap { get; init; }

    /// <summary>The side of the gradient that GaLore, Fira and APOLLO project.</summary>
    public ProjectionType? ProjectionType { get; init; }

    /// <summary>The basis of the projection: random or singular vectors.</summary>
    public ProjectionBasis? ProjectionBasis { get; init; }

    /// <summary>Power iterations of the randomized SVD.</summary>
    public int? PowerIterations { get; init; }

    /// <summary>Stores a random projection instead of generating it again each step.</summary>
    public bool? StoreProjection { get; init; }

    /// <summary>The seed of random projections.</summary>
    public ulong? ProjectionSeed { get; init; }

    /// <summary>Enables bias correction of the moments in GaLore, Fira and APOLLO.</summary>
    public bool? CorrectBias { get; init; }

    /// <summary>The scale of the update in GaLore, Fira (α) and APOLLO.</summary>
    public double? Scale { get; init; }

    /// <summary>The granularity of APOLLO's scaling factors.</summary>
    public ScaleType? ScaleType { get; init; }

    /// <summary>Applies APOLLO's scale before its limiter.</summary>
    public bool? ScaleFront { get; init; }

    /// <summary>Turns off the norm-growth limiter of Fira and APOLLO.</summary>
    public bool? DisableLimiter { get; init; }

    /// <summary>Keeps zero gradients from changing the state of the norm-growth limiter.</summary>
    public bool? LimiterIgnoresZero { get; init; }

    /// <summary>Subtracts the whole projection in Fira's residual, as in the paper.</summary>
    public bool? WholeResidual { get; init; }

    /// <summary>Elements per attention head, which share a second moment in Adam-mini; training takes it from the model.</summary>
    public int? HeadSize { get; init; }

    /// <summary>The storage type of optimizer state; state that needs f32 keeps it.</summary>
    public StateStorage StateType { get; init; }

    /// <summary>The matrices inside the blocks of GPT-2, LLaMA and BERT; a model has only some of these names.</summary>
    internal static readonly IReadOnlyList<string> UsualLowRank = ["*attn*", "*mlp*", "*attention*", "*intermediate*", "*output.dense*"];

    /// <summary>Names of matrices trained at low rank; * matches anything.</summary>
    public IReadOnlyList<string> LowRank { get; init; } = UsualLowRank;

    /// <summary>Learning-rate factors of parameter groups; where several match, their factors multiply.</summary>
    public IReadOnlyList<RateFactor> LearningRateFor { get; init; } = [];

    /// <summary>Names of parameters without weight decay; vectors never have any.</summary>
    public IReadOnlyList<string> NoDecay { get; init; } = [];

    /// <summary>These settings for another optimizer, without those that it does not have.</summary>
    /// <exception cref="UserException">There is no such optimizer.</exception>
    public OptimizerSettings For(string name)
    {
        OptimizerEntry entry = Registry.Find(name);
        OptimizerSettings named = this with { Name = entry.Name, LowRank = entry.ChoosesMatrices ? LowRank : UsualLowRank };
        return OptimizerSetting.All.Where(setting => setting.IsSet(this) && !setting.IsOf(entry)).Aggregate(named, (settings, setting) => setting.Without(settings));
    }

    /// <summary>Sets one setting by its name in files, as <c>limiter_ignores_zero=true</c>.</summary>
    /// <exception cref="UserException">There is no such setting, or the value is invalid.</exception>
    public OptimizerSettings With(string assignment)
    {
        string[] pair = assignment.Split('=', 2, StringSplitOptions.TrimEntries);
        OptimizerSetting setting = OptimizerSetting.Find(pair[0]);
        return pair.Length == 2 ? setting.Parse(this, pair[1]) : throw new UserException($"{setting.Name} has no value; write {setting.Name}=VALUE, where VALUE is {setting.Values}");
    }

    /// <summary>The range that the optimizer declares for a setting; null when it has no such setting.</summary>
    /// <param name="property">A property of these settings.</param>
    /// <exception cref="UserException">There is no such optimizer.</exception>
    public RangeAttribute? RangeOf(PropertyInfo property) => OptimizerSetting.RangeOf(property, Registry.Find(Name));

    /// <summary>Throws on settings that the optimizer does not have, and on values outside their ranges.</summary>
    /// <exception cref="SettingException">A value lies outside its range.</exception>
    /// <exception cref="UserException">The optimizer does not have a setting; the message lists those that do.</exception>
    public void Check()
    {
        CheckUsedBy([Registry.Find(Name)]);
        Ranges.Check(this);
    }

    /// <summary>Throws on a setting that none of some optimizers has.</summary>
    /// <exception cref="UserException">The message names the setting and lists the optimizers that have it.</exception>
    internal void CheckUsedBy(IReadOnlyList<OptimizerEntry> optimizers)
    {
        void Require(string setting, Func<OptimizerEntry, bool> isOf)
        {
            if (!optimizers.Any(isOf))
                throw new UserException($"{string.Join(", ", optimizers.Select(entry => entry.Name).Distinct())} {(optimizers.Count == 1 ? "has" : "have")} no {setting}; leave it out, or use {string.Join(", ", Registry.Entries.Where(isOf).Select(entry => entry.Name))}");
        }

        foreach (OptimizerSetting setting in OptimizerSetting.All.Where(setting => setting.IsSet(this)))
            Require(setting.Name, setting.IsOf);
        if (!LowRank.SequenceEqual(UsualLowRank))
            Require("low_rank", entry => entry.ChoosesMatrices);
    }
}
