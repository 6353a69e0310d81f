using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The learning rate of some parameters.</summary>
/// <param name="Pattern">Their names; * stands for anything.</param>
/// <param name="Factor">Multiplies their learning rate; 0 leaves them where they are.</param>
public sealed record RateFactor(string Pattern, double Factor);

/// <summary>An optimizer by name with its settings; what is null keeps the optimizer's own default.</summary>
public sealed record OptimizerSettings
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

    /// <summary>Momentum of SGD.</summary>
    public double? Momentum { get; init; }

    /// <summary>Rank of GaLore, Fira and APOLLO.</summary>
    public int? Rank { get; init; }

    /// <summary>Steps between projections.</summary>
    public int? UpdateProjectionGap { get; init; }

    /// <summary>Where projections come from: exact or randomized singular vectors, or random numbers.</summary>
    public ProjectionBasis? Basis { get; init; }

    /// <summary>The scale of GaLore, Fira (alpha) and APOLLO.</summary>
    public double? Scale { get; init; }

    /// <summary>What shares a factor in APOLLO.</summary>
    public ScaleType? ScaleType { get; init; }

    /// <summary>Numbers of an attention head, whose second moments Adam-mini shares; training takes it from the model.</summary>
    public int? HeadSize { get; init; }

    /// <summary>How state is stored that may be stored in fewer bits.</summary>
    public StateStorage StateType { get; init; }

    /// <summary>Names of matrices that are trained at low rank; * stands for anything.</summary>
    public IReadOnlyList<string> LowRank { get; init; } = ["*attn*", "*mlp*", "*attention*", "*intermediate*", "*output.dense*"];

    /// <summary>Groups whose learning rate is a multiple of the others'; where several match, their factors multiply.</summary>
    public IReadOnlyList<RateFactor> LearningRateFor { get; init; } = [];

    /// <summary>Names of parameters without weight decay, beside vectors.</summary>
    public IReadOnlyList<string> NoDecay { get; init; } = [];
}
