using System.IO.Enumeration;
using ILGpuOptim.Training;

namespace ILGpuOptim.Optim;

/// <summary>An optimizer that users can choose by name.</summary>
/// <param name="Name">What they type.</param>
/// <param name="Summary">One line about it.</param>
/// <param name="Create">Makes one without parameters, given how it stores its state.</param>
/// <param name="Options">Settings of a group: of matrices that the method is for (true), or of everything else.</param>
/// <param name="ChoosesMatrices">Whether some matrices are treated otherwise than the rest.</param>
public sealed record OptimizerEntry(string Name, string Summary, Func<StateStorage, Optimizer> Create, Func<OptimizerSettings, bool, OptimizerOptions> Options, bool ChoosesMatrices = false)
{
    /// <summary>Settings that depend on a parameter's name and sizes; null when a group shares them.</summary>
    public Func<OptimizerSettings, OptimizerOptions, string, IReadOnlyList<int>, OptimizerOptions>? Refine { get; init; }

    /// <summary>The settings of one parameter, but for its learning rate and weight decay.</summary>
    public OptimizerOptions OptionsOf(OptimizerSettings settings, string name, IReadOnlyList<int> shape)
    {
        OptimizerOptions options = Options(settings, Registry.Chooses(this, settings, name, shape));
        return Refine is null ? options : Refine(settings, options, name, shape);
    }
}

/// <summary>One group of parameters, for people.</summary>
/// <param name="Description">What is special about the group.</param>
/// <param name="Parameters">Its parameters.</param>
public sealed record ParameterGroup(string Description, IReadOnlyList<Parameter> Parameters);

/// <summary>All optimizers.</summary>
public static class Registry
{
    /// <summary>The optimizers in the order of their age.</summary>
    public static IReadOnlyList<OptimizerEntry> Entries { get; } =
    [
        new("sgd", "stochastic gradient descent with momentum", storage => new Sgd { Storage = storage }, (s, _) => new SgdOptions { Momentum = s.Momentum ?? 0.9 }),
        new("adam", "Adam, weight decay in the gradient", storage => new Adam { Storage = storage }, (s, _) => AdamOptions(s)),
        new("adamw", "Adam with decoupled weight decay", storage => new AdamW { Storage = storage }, (s, _) => AdamOptions(s)),
        new("adafactor", "factored second moment, PyTorch's form (ICML 2018)", storage => new Adafactor { Storage = storage }, (s, _) => new AdafactorOptions()),
        new("adafactor-relative", "factored second moment, the form of fairseq and Hugging Face at a fixed step", storage => new AdafactorRelative { Storage = storage }, (s, _) => new AdafactorRelativeOptions { RelativeStep = false, ScaleParameter = false, Beta1 = s.Beta1 }),
        new("lamb", "Adam with a trust ratio for each tensor (ICLR 2020)", storage => new Lamb { Storage = storage }, (s, _) => Lamb(s)),
        new("lion", "the sign of a momentum (NeurIPS 2023)", storage => new Lion { Storage = storage }, (s, _) => Lion(s)),
        new("muon", "orthogonalised momentum, AdamW for what is no hidden matrix (2024)", storage => new Muon { Storage = storage }, (s, chosen) => Muon(s, chosen), true),
        new("adam-mini", "Adam with one second moment for each head or neuron (ICLR 2025)", storage => new AdamMini { Storage = storage }, (s, _) => Mini(s))
        {
            Refine = (s, options, name, shape) => AdamMini.ForParameter((AdamMiniOptions)options, name, shape, Math.Max(1, s.HeadSize ?? 1)),
        },
        new("came", "confidence-guided factored moments (ACL 2023)", storage => new Came { Storage = storage }, (s, _) => CameOptions(s)),
        new("galore", "Adam in the gradient's leading singular directions (ICML 2024)", storage => new GaLore { Storage = storage }, (s, low) => LowRank(new GaLoreOptions { Scale = s.Scale ?? 0.25, Rank = low ? s.Rank ?? 128 : 0 }, s), true),
        new("fira", "GaLore and the scaled residual", storage => new Fira { Storage = storage }, (s, low) => LowRank(new FiraOptions { Alpha = s.Scale ?? 1, Rank = low ? s.Rank ?? 128 : 0 }, s), true),
        new("apollo", "gradient scaling learned in a random subspace (MLSys 2025)", storage => new Apollo { Storage = storage }, (s, low) => LowRank(Apollo(s, new ApolloOptions()) with { Rank = low ? s.Rank ?? 32 : 0 }, s), true),
        new("apollo-mini", "APOLLO of rank 1: the memory of SGD", storage => new Apollo(isMini: true) { Storage = storage }, (s, low) => LowRank(Apollo(s, ApolloOptions.Mini) with { Rank = low ? s.Rank ?? 1 : 0 }, s), true),
    ];

    /// <summary>Finds an optimizer.</summary>
    /// <exception cref="UserException">There is none of that name; the message suggests the nearest.</exception>
    public static OptimizerEntry Find(string name) =>
        Entries.FirstOrDefault(entry => entry.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
        ?? throw new UserException($"there is no optimizer \"{name}\"; did you mean {Nearest.To(name, Entries.Select(entry => entry.Name))}? There are {string.Join(", ", Entries.Select(entry => entry.Name))}");

    /// <summary>Makes an optimizer over a model's parameters, in groups.</summary>
    /// <param name="settings">The choice.</param>
    /// <param name="parameters">What is trained; frozen parameters are left out.</param>
    /// <param name="groups">The groups that were made, to show.</param>
    /// <exception cref="UserException">A parameter cannot be trained so.</exception>
    public static Optimizer Create(OptimizerSettings settings, IReadOnlyList<Parameter> parameters, out IReadOnlyList<ParameterGroup> groups)
    {
        OptimizerEntry entry = Find(settings.Name);
        Optimizer optimizer = entry.Create(settings.StateType);
        var made = new Dictionary<string, List<Parameter>>();
        foreach (Parameter parameter in parameters.Where(parameter => !parameter.IsFrozen))
        {
            bool chosen = Chooses(entry, settings, parameter.Name, parameter.Shape);
            bool decays = settings.WeightDecay != 0 && parameter.Shape.Count >= 2 && !Matches(settings.NoDecay, parameter.Name);
            OptimizerOptions options = entry.OptionsOf(settings, parameter.Name, parameter.Shape);
            double factor = settings.LearningRateFor.Where(item => Matches([item.Pattern], parameter.Name)).Aggregate(1.0, (product, item) => product * item.Factor);
            optimizer.Add(parameter, options with { LearningRate = settings.LearningRate * factor, WeightDecay = decays ? settings.WeightDecay : 0 });
            string description = (entry.ChoosesMatrices ? chosen ? "low rank, " : "full rank, " : "") + (decays ? $"weight decay {settings.WeightDecay}" : "no weight decay");
            description += factor == 1 ? "" : $", learning rate × {factor}";
            if (!made.TryGetValue(description, out List<Parameter>? group))
                made[description] = group = [];
            group.Add(parameter);
        }

        foreach (RateFactor item in settings.LearningRateFor.Where(item => !parameters.Any(parameter => Matches([item.Pattern], parameter.Name))))
            throw new UserException($"--lr-for {item.Pattern}={item.Factor}: the model has no such parameter");
        groups = [.. made.Select(pair => new ParameterGroup(pair.Key, pair.Value))];
        return optimizer;
    }

    /// <summary>Whether a parameter is one of the matrices that an optimizer's method is for.</summary>
    internal static bool Chooses(OptimizerEntry entry, OptimizerSettings settings, string name, IReadOnlyList<int> shape) =>
        entry.ChoosesMatrices && shape.Count == 2 && Matches(settings.LowRank, name);

    private static bool Matches(IReadOnlyList<string> patterns, string name) =>
        patterns.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, name));

    private static AdamOptions AdamOptions(OptimizerSettings s)
    {
        var defaults = new AdamOptions();
        return defaults with { Beta1 = s.Beta1 ?? defaults.Beta1, Beta2 = s.Beta2 ?? defaults.Beta2, Epsilon = s.Epsilon ?? defaults.Epsilon };
    }

    private static AdamMiniOptions Mini(OptimizerSettings s)
    {
        var defaults = new AdamMiniOptions();
        return defaults with { Beta1 = s.Beta1 ?? defaults.Beta1, Beta2 = s.Beta2 ?? defaults.Beta2, Epsilon = s.Epsilon ?? defaults.Epsilon };
    }

    private static LambOptions Lamb(OptimizerSettings s)
    {
        var defaults = new LambOptions();
        return defaults with { Beta1 = s.Beta1 ?? defaults.Beta1, Beta2 = s.Beta2 ?? defaults.Beta2, Epsilon = s.Epsilon ?? defaults.Epsilon };
    }

    private static LionOptions Lion(OptimizerSettings s)
    {
        var defaults = new LionOptions();
        return defaults with { Beta1 = s.Beta1 ?? defaults.Beta1, Beta2 = s.Beta2 ?? defaults.Beta2 };
    }

    private static MuonOptions Muon(OptimizerSettings s, bool orthogonalises)
    {
        var defaults = new MuonOptions();
        return defaults with
        {
            Orthogonalises = orthogonalises,
            Scaling = MuonScaling.Moonlight,
            Momentum = s.Momentum ?? defaults.Momentum,
            Beta1 = s.Beta1 ?? defaults.Beta1,
            Beta2 = s.Beta2 ?? defaults.Beta2,
            Epsilon = s.Epsilon ?? defaults.Epsilon,
        };
    }

    private static CameOptions CameOptions(OptimizerSettings s)
    {
        var defaults = new CameOptions();
        return defaults with { Beta1 = s.Beta1 ?? defaults.Beta1, Beta2 = s.Beta2 ?? defaults.Beta2, Beta3 = s.Beta3 ?? defaults.Beta3 };
    }

    private static ApolloOptions Apollo(OptimizerSettings s, ApolloOptions defaults) =>
        defaults with { Scale = s.Scale ?? defaults.Scale, ScaleType = s.ScaleType ?? defaults.ScaleType };

    private static T LowRank<T>(T defaults, OptimizerSettings s) where T : LowRankOptions => defaults with
    {
        Beta1 = s.Beta1 ?? defaults.Beta1,
        Beta2 = s.Beta2 ?? defaults.Beta2,
        Epsilon = s.Epsilon ?? defaults.Epsilon,
        UpdateProjectionGap = s.UpdateProjectionGap ?? defaults.UpdateProjectionGap,
        Basis = s.Basis ?? defaults.Basis,
    };
}
