using System.IO.Enumeration;
using ILGpuOptim.Distributed;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>An optimizer that users can choose by name.</summary>
/// <param name="Name">Its name in settings and commands.</param>
/// <param name="Summary">One line about it.</param>
/// <param name="Create">Creates one without parameters, with a given storage of state.</param>
/// <param name="Defaults">
/// The options and the learning rate that are recommended and used where none are set. Settings, flags, help texts and checks derive from the record.
/// </param>
public sealed record OptimizerEntry(string Name, string Summary, Func<StateStorage, Optimizer> Create, OptimizerOptions Defaults)
{
    /// <summary>An optimizer with no options but the learning rate and weight decay.</summary>
    public OptimizerEntry(string name, string summary, Func<StateStorage, Optimizer> create)
        : this(name, summary, create, new OptimizerOptions())
    {
    }

    private IReadOnlyList<OptimizerOption>? options;

    /// <summary>Its options with their defaults.</summary>
    public OptimizerOptions Defaults { get; init => (field, options) = (value, null); } = Defaults;

    /// <summary>Its own options, in addition to those of all optimizers.</summary>
    public IReadOnlyList<OptimizerOption> Options => options ??= OptimizerOption.Of(Defaults);

    /// <summary>
    /// For a method that applies to selected matrices only (<see cref="OptimizerSettings.LowRank"/>): the options of all other parameters, from those of
    /// the matrices. Null for a method that applies to every parameter.
    /// </summary>
    public Func<OptimizerOptions, OptimizerOptions>? Others { get; init; }

    /// <summary>True if the method applies to selected matrices only.</summary>
    public bool ChoosesMatrices => Others is not null;

    /// <summary>Recommended warm-up, in steps. Runs of fewer than ten times as many warm up for a tenth of their steps.</summary>
    public int Warmup { get; init; } = 100;

    /// <summary>True if the recommended schedule is constant after the warm-up, for a method that averages weights instead.</summary>
    public bool KeepsRate { get; init; }

    /// <summary>The update written out in doubles, which <c>check</c> holds the kernels against; null where there is none.</summary>
    public UpdateEquations? Equations { get; init; }

    /// <summary>Options that depend on a parameter's name and sizes; null when a group shares them.</summary>
    public Func<OptimizerOptions, string, IReadOnlyList<int>, OptimizerOptions>? Refine { get; init; }

    /// <summary>What distinguishes the options of parameters, such as their role, for display; null where nothing does.</summary>
    public Func<OptimizerOptions, string>? Describe { get; init; }

    /// <summary>The options of one parameter, without its learning rate and weight decay. The rank is limited to the short side of the matrix.</summary>
    /// <exception cref="UserException">A value is invalid.</exception>
    public OptimizerOptions OptionsOf(OptimizerSettings settings, string name, IReadOnlyList<int> shape)
    {
        OptimizerOptions options = OptionsFor(settings);
        if (ChoosesMatrices && !Registry.Chooses(this, settings, name, shape))
            options = Others!(options);
        if (options is LowRankOptions low && shape.Count == 2)
            options = low with { Rank = Projection.Limited(low.Rank, shape) };
        return Refine is null ? options : Refine(options, name, shape);
    }

    /// <summary>The option of that name; null if there is none.</summary>
    internal OptimizerOption? OptionNamed(string name) => Options.FirstOrDefault(option => option.IsNamed(name));

    /// <summary>The defaults with the values that are set and that this optimizer has.</summary>
    internal OptimizerOptions OptionsFor(OptimizerSettings settings)
    {
        OptimizerOptions options = Defaults.Parts.Count == 0 ? Defaults with { } : Defaults with { Parts = [.. Defaults.Parts.Select(part => part with { })] };
        foreach ((string name, string value) in settings.Options)
            OptionNamed(name)?.Set(options, value);
        return options;
    }
}

/// <summary>A group of parameters, for display.</summary>
/// <param name="Description">Description of the group.</param>
/// <param name="Parameters">Its parameters.</param>
public sealed record ParameterGroup(string Description, IReadOnlyList<Parameter> Parameters);

/// <summary>All optimizers.</summary>
public static class Registry
{
    /// <summary>The optimizers by year of publication, followed by registered ones.</summary>
    public static IReadOnlyList<OptimizerEntry> Entries => All;

    private static readonly List<OptimizerEntry> All =
    [
        new("sgd", "stochastic gradient descent with momentum", storage => new Sgd { Storage = storage }, new SgdOptions { Momentum = 0.9, LearningRate = 0.03 }),
        new("adagrad", "gradients divided by the root of the sum of their squares (JMLR 2011)", storage => new Adagrad { Storage = storage }, new AdagradOptions()) { Equations = Adagrad.Equations },
        new("rmsprop", "gradients divided by their running root mean square (2012)", storage => new RmsProp { Storage = storage }, new RmsPropOptions { LearningRate = 3e-4 }) { Equations = RmsProp.Equations },
        new("adam", "Adam, weight decay in the gradient", storage => new Adam { Storage = storage }, new AmsGradOptions { Beta2 = 0.99 }),
        new("nadam", "Adam with Nesterov momentum (2016)", storage => new NAdam { Storage = storage }, new NAdamOptions { DecoupledDecay = true }) { Equations = NAdam.Equations },
        new("adamw", "Adam with decoupled weight decay", storage => new AdamW { Storage = storage }, new AmsGradOptions { Beta2 = 0.99 }),
        new("adafactor", "factored second moment, PyTorch's form (ICML 2018)", storage => new Adafactor { Storage = storage }, new AdafactorOptions { LearningRate = 1e-2 }),
        new("adafactor-relative", "factored second moment, the form of fairseq and Hugging Face at a fixed step", storage => new AdafactorRelative { Storage = storage }, new AdafactorRelativeOptions { RelativeStep = false, ScaleParameter = false, LearningRate = 1e-3 }),
        new("radam", "Adam with a rectified warm-up (ICLR 2020)", storage => new RAdam { Storage = storage }, new RAdamOptions { DecoupledDecay = true }) { Equations = RAdam.Equations },
        new("signum", "the sign of a momentum, of gradients alone (ICML 2018)", storage => new Signum { Storage = storage }, new SignumOptions { DecoupledDecay = true }),
        new("lamb", "Adam with a trust ratio for each tensor (ICLR 2020)", storage => new Lamb { Storage = storage }, new LambOptions { Beta2 = 0.99, LearningRate = 5e-3 }),
        new("stable-adamw", "AdamW with the update clipping of Adafactor (NeurIPS 2023)", storage => new StableAdamW { Storage = storage }, new StableAdamWOptions()) { Equations = StableAdamW.Equations },
        new("lion", "the sign of a momentum (NeurIPS 2023)", storage => new Lion { Storage = storage }, new LionOptions { LearningRate = 3e-4 }),
        new("muon", "orthogonalised momentum, AdamW for all but hidden matrices (2024)", storage => new Muon { Storage = storage }, new MuonOptions { Scaling = MuonScaling.Moonlight, Beta2 = 0.99, LearningRate = 1e-3 }) { Others = options => (MuonOptions)options with { Orthogonalises = false } },
        new("sophia", "momentum clipped by a sampled curvature (ICLR 2024)", storage => new Sophia { Storage = storage }, new SophiaOptions()),
        new("prodigy", "Adam with an estimated step size (ICML 2024)", storage => new Prodigy { Storage = storage }, new ProdigyOptions()),
        new("schedulefree-sgd", "SGD without a schedule, evaluated at an average (NeurIPS 2024)", storage => new ScheduleFreeSgd { Storage = storage }, new ScheduleFreeSgdOptions()) { KeepsRate = true },
        new("schedulefree-adamw", "AdamW without a schedule, evaluated at an average (NeurIPS 2024)", storage => new ScheduleFreeAdamW { Storage = storage }, new ScheduleFreeAdamWOptions()) { KeepsRate = true },
        new("normuon", "Muon with rows of equal size, AdamW for all but hidden matrices (2025)", storage => new NorMuon { Storage = storage }, new OrthogonalOptions { Scaling = MuonScaling.Moonlight, LearningRate = 1e-3 }) { Others = options => (OrthogonalOptions)options with { Orthogonalises = false } },
        new("soap", "Adam in the eigenbases of Shampoo (ICLR 2025)", storage => new Soap { Storage = storage }, new SoapOptions()),
        new("dion", "orthogonalised momentum of low rank, AdamW or Lion for all but hidden matrices (2025)", storage => new Dion { Storage = storage }, new DionOptions { RankFraction = 0.25, Scaling = MuonScaling.Moonlight, LearningRate = 1e-3 }) { Others = options => (DionOptions)options with { Orthogonalises = false } },
        new("scale", "normalized gradients, a momentum for the last layer only (2025)", storage => new Scale { Storage = storage }, new ScaleOptions { LearningRate = 1e-3 }) { Refine = (options, name, shape) => Scale.ForParameter((ScaleOptions)options, name, shape), Describe = options => ((ScaleOptions)options).Role switch { ScaleRole.LastLayer => "last layer", ScaleRole.Hidden => "hidden", ScaleRole.Embedding => "embedding", _ => "vectors" } },
        new("adopt", "Adam normalized by earlier gradients only (NeurIPS 2024)", storage => new Adopt { Storage = storage }, new AdoptOptions { DecoupledDecay = true }) { Equations = Adopt.Equations },
        new("mars", "AdamW of gradients with reduced variance (2024)", storage => new Mars { Storage = storage }, new MarsOptions()),
        new("ademamix", "AdamW with a fast and a slow momentum (ICLR 2025)", storage => new AdEmaMix { Storage = storage }, new AdEmaMixOptions()) { Equations = AdEmaMix.Equations },
        new("spam", "Adam that clips spikes and resets its moments (ICLR 2025)", storage => new Spam { Storage = storage }, new SpamOptions()),
        new("stable-spam", "Adam of normalized gradients, with resets (2025)", storage => new StableSpam { Storage = storage }, new StableSpamOptions()),
        new("adam-mini", "Adam with one second moment for each head or neuron (ICLR 2025)", storage => new AdamMini { Storage = storage }, new AdamMiniOptions { Beta2 = 0.99 }) { Refine = (options, name, shape) => AdamMini.ForParameter((AdamMiniOptions)options, name, shape) },
        new("came", "confidence-guided factored moments (ACL 2023)", storage => new Came { Storage = storage }, new CameOptions { Beta2 = 0.95, Beta3 = 0.995, LearningRate = 7e-4 }) { Warmup = 200 },
        new("galore", "Adam in the gradient's leading singular directions (ICML 2024)", storage => new GaLore { Storage = storage }, new GaLoreOptions { Rank = 128, Beta2 = 0.99, LearningRate = 1e-2 }) { Others = Unprojected },
        new("fira", "GaLore and the scaled residual", storage => new Fira { Storage = storage }, new FiraOptions { Rank = 128, Beta2 = 0.99, LearningRate = 1e-2 }) { Others = Unprojected },
        new("apollo", "gradient scaling learned in a random subspace (MLSys 2025)", storage => new Apollo { Storage = storage }, new ApolloOptions { Rank = 32, Beta2 = 0.99, LearningRate = 1e-2 }) { Others = Unprojected },
        new("apollo-mini", "APOLLO of rank 1: the memory of SGD", storage => new Apollo { IsMini = true, Storage = storage }, ApolloOptions.Mini with { Beta2 = 0.99, LearningRate = 1e-2 }) { Others = Unprojected },
    ];

    /// <summary>The parts that change any optimizer, in the order in which they act.</summary>
    public static IReadOnlyList<Part> Parts { get; } = [new SpikeClip(), new Cautious(), new DecoupledDecay(), new RmsClip(), new TrustRatio(), new GrowthLimit()];

    private static readonly IReadOnlyList<(string Owner, OptimizerOption Option)> PartOptions = [.. Parts.SelectMany(OptimizerOption.Of, (part, option) => ("+" + part.Name, option))];

    /// <summary>Registers an optimizer by name for settings, run folders, and commands that run in this process.</summary>
    /// <exception cref="UserException">The name is taken or has other characters than letters, digits and -, or an option cannot be a setting.</exception>
    public static void Add(OptimizerEntry entry)
    {
        if (!entry.Name.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') || !entry.Name.Any(char.IsAsciiLetter))
            throw new UserException($"\"{entry.Name}\" cannot be typed as an optimizer's name; use letters, digits and -, as in apollo-mini");
        if (All.Any(other => other.Name.Equals(entry.Name, StringComparison.OrdinalIgnoreCase)))
            throw new UserException($"there already is an optimizer \"{entry.Name}\"; choose another name");
        foreach (OptimizerOption option in entry.Options)
        {
            if (!(Values.IsNumber(option.Type) || option.Type.IsEnum || option.Type == typeof(bool)))
                throw new UserException($"{entry.Name}: the option {option.Name} has the type {option.Type.Name}; settings are numbers, Booleans and enumerations, so take one of these, or mark it with [DerivedOption]");
            if (OptimizerSettings.SharedNames.Contains(option.Name))
                throw new UserException($"{entry.Name}: every optimizer has a setting {option.Name}, so none of its own options can have that name; rename it");
        }

        All.Add(entry);
    }

    /// <summary>Finds an optimizer, and adds the parts that its name asks for: <c>adamw+cautious</c>.</summary>
    /// <exception cref="UserException">There is none of that name; the message suggests the nearest.</exception>
    public static OptimizerEntry Find(string name)
    {
        if (name.Contains(':', StringComparison.Ordinal))
            throw new UserException($"\"{name}\" holds settings beside the name of an optimizer; name {name.Split(':')[0].Trim()} here, and give them as settings of their own");
        string[] names = name.Split('+', StringSplitOptions.TrimEntries);
        OptimizerEntry entry = Entries.FirstOrDefault(entry => entry.Name.Equals(names[0], StringComparison.OrdinalIgnoreCase))
            ?? throw new UserException($"there is no optimizer \"{names[0]}\"{Nearest.Question(names[0], Entries.Select(entry => entry.Name))} There are {string.Join(", ", Entries.Select(entry => entry.Name))}");
        if (names.Length == 1)
            return entry;
        Part[] parts = [.. names[1..].Select(PartNamed)];
        if (parts.GroupBy(part => part.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new UserException($"{name} has {twice.Key} twice; name each part once");

        // One composition has one name, in whichever order its parts are given.
        parts = [.. Parts.Where(parts.Contains)];
        return entry with
        {
            Name = string.Join('+', [entry.Name, .. parts.Select(part => part.Name)]),
            Summary = string.Join("; ", [entry.Summary, .. parts.Select(part => part.Summary)]),
            Defaults = entry.Defaults with { Parts = [.. entry.Defaults.Parts, .. parts] },
            Equations = null,
        };
    }

    private static Part PartNamed(string name) =>
        Parts.FirstOrDefault(part => part.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
        ?? throw (name.Equals("ema", StringComparison.OrdinalIgnoreCase)
            ? UserException.NamingSettings($"ema is no part of an optimizer; {nameof(Training.TrainingSettings.Ema):setting} averages the weights that any optimizer trains")
            : new UserException($"there is no part \"{name}\" of an optimizer{Nearest.Question(name, Parts.Select(part => part.Name))} There are {string.Join(", ", Parts.Select(part => part.Name))}"));

    /// <summary>The options of all optimizers and parts, with the names of those that have them.</summary>
    internal static IEnumerable<(string Owner, OptimizerOption Option)> DeclaredOptions =>
        Entries.SelectMany(entry => entry.Options, (entry, option) => (entry.Name, option)).Concat(PartOptions);

    /// <summary>Creates an optimizer for a model's parameters, in groups.</summary>
    /// <param name="settings">Its settings.</param>
    /// <param name="parameters">The parameters to train; frozen ones are skipped.</param>
    /// <param name="groups">The groups, for display.</param>
    /// <exception cref="UserException">A parameter cannot be trained with these settings.</exception>
    public static Optimizer Create(OptimizerSettings settings, IReadOnlyList<Parameter> parameters, out IReadOnlyList<ParameterGroup> groups) =>
        Create(settings, parameters, null, out groups);

    /// <summary>As <see cref="Create(OptimizerSettings, IReadOnlyList{Parameter}, out IReadOnlyList{ParameterGroup})"/>, with the state of one rank.</summary>
    internal static Optimizer Create(OptimizerSettings settings, IReadOnlyList<Parameter> parameters, Communicator? communicator, out IReadOnlyList<ParameterGroup> groups)
    {
        OptimizerEntry entry = Find(settings.Name);
        settings.CheckUsedBy([entry]);
        return Create(entry, settings, parameters, communicator, out groups);
    }

    /// <summary>Creates an optimizer that need not be registered.</summary>
    /// <param name="entry">The optimizer; the name in the settings is ignored.</param>
    /// <param name="settings">Its settings.</param>
    /// <param name="parameters">The parameters to train; frozen ones are skipped.</param>
    /// <param name="groups">The groups, for display.</param>
    /// <exception cref="UserException">A parameter cannot be trained with these settings.</exception>
    public static Optimizer Create(OptimizerEntry entry, OptimizerSettings settings, IReadOnlyList<Parameter> parameters, out IReadOnlyList<ParameterGroup> groups) =>
        Create(entry, settings, parameters, null, out groups);

    internal static Optimizer Create(OptimizerEntry entry, OptimizerSettings settings, IReadOnlyList<Parameter> parameters, Communicator? communicator, out IReadOnlyList<ParameterGroup> groups)
    {
        var added = new List<(Parameter Parameter, OptimizerOptions Options)>();
        var made = new Dictionary<string, List<Parameter>>();
        foreach (Parameter parameter in parameters.Where(parameter => !parameter.IsFrozen))
        {
            bool chosen = Chooses(entry, settings, parameter.Name, parameter.Shape);
            bool decays = settings.WeightDecay != 0 && parameter.Shape.Count >= 2 && !Matches(settings.NoDecay, parameter.Name);
            OptimizerOptions options = entry.OptionsOf(settings, parameter.Name, parameter.Shape);
            double factor = settings.LearningRateFor.Where(item => Matches([item.Pattern], parameter.Name)).Aggregate(1.0, (product, item) => product * item.Factor);
            added.Add((parameter, options with { LearningRate = (settings.LearningRate ?? options.LearningRate) * factor, WeightDecay = decays ? settings.WeightDecay : 0 }));
            string description = (entry.ChoosesMatrices ? chosen ? "low rank, " : "full rank, " : "") + (entry.Describe is { } role ? role(options) + ", " : "") + (decays ? $"weight decay {settings.WeightDecay}" : "no weight decay");
            description += factor == 1 ? "" : $", learning rate × {factor}";
            if (!made.TryGetValue(description, out List<Parameter>? group))
                made[description] = group = [];
            group.Add(parameter);
        }

        Optimizer optimizer = entry.Create(settings.StateType);
        if (communicator is { Size: > 1 } && !optimizer.SupportsRanks)
            throw new UserException($"{entry.Name} combines values of all parameters, of which each rank has those that it owns, and does not exchange them; take another optimizer, or one rank");
        if (communicator is { Size: > 1 })
            optimizer.Ownership = Ownership.Of(entry, settings.StateType, added, communicator);
        foreach ((Parameter parameter, OptimizerOptions options) in added)
            optimizer.Add(parameter, options);
        foreach (RateFactor item in settings.LearningRateFor)
            Require(parameters, item.Pattern, $"{nameof(settings.LearningRateFor):setting} {item.Pattern}={item.Factor}", "parameter");
        foreach (string pattern in settings.NoDecay)
            Require(parameters, pattern, $"{nameof(settings.NoDecay):setting} {pattern}", "parameter");
        foreach (string pattern in entry.ChoosesMatrices ? settings.LowRank.Except(OptimizerSettings.UsualLowRank) : [])
            Require(parameters.Where(parameter => parameter.Shape.Count == 2), pattern, $"{nameof(settings.LowRank):setting} {pattern}", "matrix");
        groups = [.. made.Select(pair => new ParameterGroup(pair.Key, pair.Value))];
        return optimizer;
    }

    /// <summary>True if a parameter is one of the matrices that the optimizer's method applies to.</summary>
    internal static bool Chooses(OptimizerEntry entry, OptimizerSettings settings, string name, IReadOnlyList<int> shape) =>
        entry.ChoosesMatrices && shape.Count == 2 && Matches(settings.LowRank, name);

    /// <summary>Refuses a pattern that would change nothing.</summary>
    private static void Require(IEnumerable<Parameter> parameters, string pattern, FormattableString setting, string kind)
    {
        if (!parameters.Any(parameter => Matches([pattern], parameter.Name)))
            throw UserException.NamingSettings($"{setting}: the model has no such {kind}; there are {NamesOf(parameters)}");
    }

    /// <summary>Names as patterns, one for all layers: <c>wte.weight, h.*.ln_1.weight</c>.</summary>
    internal static string NamesOf(IEnumerable<Parameter> parameters) =>
        string.Join(", ", parameters.Select(parameter => string.Join('.', parameter.Name.Split('.').Select(part => part.All(char.IsAsciiDigit) ? "*" : part))).Distinct());

    private static bool Matches(IReadOnlyList<string> patterns, string name) =>
        patterns.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, name));

    /// <summary>Options of what a low-rank optimizer trains by plain Adam.</summary>
    private static OptimizerOptions Unprojected(OptimizerOptions options) => (LowRankOptions)options with { Rank = null };
}
