using System.Globalization;
using ILGpuOptim.Files;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>An optimizer of a study.</summary>
/// <param name="Candidate">Its label and fixed settings; <see cref="Candidate.Rates"/> is not used.</param>
/// <param name="Search">The settings that are searched.</param>
/// <param name="Takes">Names of settings whose values are those found for the baseline.</param>
internal sealed record ProtocolOptimizer(Candidate Candidate, IReadOnlyList<SearchAxis> Search, IReadOnlyList<string> Takes);

/// <summary>One model on one data set with several optimizers, the first of which is the baseline.</summary>
internal sealed record ProtocolStudy
{
    /// <summary>The settings that the protocol states itself, or that differ between its runs.</summary>
    private static readonly string[] Stated = ["steps", "warmup", "accumulate", "seed", "optimizer", "clip", "eval_interval", "keep", "threads"];

    /// <summary>The name, of letters, digits, points and hyphens.</summary>
    public required string Name { get; init; }

    /// <summary>Settings of all runs: model, data, sequences per batch, block, schedule.</summary>
    public required TrainingSettings Training { get; init; }

    /// <summary>Tokens of each run.</summary>
    public long Tokens { get; init; }

    /// <summary>Whether a run may see tokens twice; otherwise the data must have enough.</summary>
    public bool Repeats { get; init; }

    /// <summary>Tokens of an update; the study runs once for each.</summary>
    public required IReadOnlyList<int> Batches { get; init; }

    /// <summary>The fraction of the updates in which the learning rate rises.</summary>
    public double Warmup { get; init; }

    /// <summary>The norm that gradients are clipped to where it is not searched; 0: no clipping.</summary>
    public double Clip { get; init; }

    /// <summary>Validations of a run after its first step; 1: at its end only.</summary>
    public int Validations { get; init; }

    /// <summary>Measures the accuracy for masked tokens at each validation.</summary>
    public bool Accuracy { get; init; }

    /// <summary>Whether the tables state milliseconds, which have to be measured on a quiet machine.</summary>
    public bool Times { get; init; }

    /// <summary>The seed of the searches.</summary>
    public ulong TuningSeed { get; init; }

    /// <summary>The seeds of the results, the same for each optimizer.</summary>
    public required IReadOnlyList<ulong> Seeds { get; init; }

    /// <summary>The most passes over the baseline's settings.</summary>
    public int Passes { get; init; }

    /// <summary>Multiples of <see cref="Tokens"/> that the baseline trains with too, so that losses can be told in tokens.</summary>
    public required IReadOnlyList<double> Multiples { get; init; }

    /// <summary>The optimizers, the baseline first.</summary>
    public required IReadOnlyList<ProtocolOptimizer> Optimizers { get; init; }

    /// <summary>The settings of a run.</summary>
    /// <param name="optimizer">The optimizer.</param>
    /// <param name="values">Values of searched and taken settings.</param>
    /// <param name="batch">Tokens of an update.</param>
    /// <param name="multiple">Multiplies the tokens.</param>
    /// <param name="seed">The seed.</param>
    public TrainingSettings Of(ProtocolOptimizer optimizer, IReadOnlyDictionary<string, double> values, int batch, double multiple, ulong seed)
    {
        int steps = StepsOf(batch, multiple);
        TrainingSettings settings = Training with
        {
            Steps = steps,
            Accumulate = (int)(batch / SmallestBatch),
            Warmup = (int)Math.Round(Warmup * steps),
            EvalInterval = (steps + Validations - 1) / Validations,
            Clip = Clip,
            Keep = 1,
            Seed = seed,
            Optimizer = optimizer.Candidate.Optimizer,
        };
        return values.Aggregate(settings, (changed, item) => With(changed, item.Key, item.Value));
    }

    /// <summary>The updates of a run.</summary>
    internal int StepsOf(int batch, double multiple) => (int)Updates(batch, multiple);

    private double Updates(int batch, double multiple) => Math.Round(Tokens * multiple / batch);

    /// <summary>Tokens of an update without accumulation.</summary>
    private long SmallestBatch => (long)Training.Batch * Training.Block * Training.Shards;

    private static TrainingSettings With(TrainingSettings settings, string name, double value) => name switch
    {
        "lr" => settings with { Optimizer = settings.Optimizer with { LearningRate = value } },
        "clip" => settings with { Clip = value },
        _ => settings with { Optimizer = settings.Optimizer.With(name, value) },
    };

    internal static ProtocolStudy Read(JsonFields fields)
    {
        JsonFields training = fields.RequiredObject("training");
        if (training.Names.FirstOrDefault(Stated.Contains) is { } stated)
            throw training.Error(stated, "is stated by the study itself, or differs between its runs; leave it out");
        JsonFields baseline = fields.RequiredObject("baseline");
        var study = new ProtocolStudy
        {
            Name = fields.RequiredText("name"),
            Training = TrainingSettings.Read(training),
            Tokens = fields.RequiredCount("tokens"),
            Repeats = fields.Flag("repeats") ?? false,
            Batches = fields.Ints("batches") ?? throw fields.Error("batches", "is missing"),
            Warmup = fields.Number("warmup") ?? 0.1,
            Clip = fields.Number("clip") ?? 1,
            Validations = fields.Int("validations") ?? 1,
            Accuracy = fields.Flag("accuracy") ?? false,
            Times = fields.Flag("times") ?? false,
            TuningSeed = (ulong)fields.RequiredCount("tuning_seed"),
            Seeds = [.. (fields.Ints("seeds") ?? throw fields.Error("seeds", "is missing")).Select(seed => seed >= 0 ? (ulong)seed : throw fields.Error("seeds", $"has {seed}; seeds are at least 0"))],
            Passes = baseline.Int("passes") ?? 1,
            Multiples = baseline.Numbers("multiples") ?? [],
            Optimizers = [ReadOptimizer(baseline, null), .. (fields.Objects("optimizers") ?? []).Select(item => ReadOptimizer(item, baseline))],
        };
        fields.Finish();
        study.Check(fields, baseline);
        return study;
    }

    private static ProtocolOptimizer ReadOptimizer(JsonFields fields, JsonFields? baseline)
    {
        string label = fields.RequiredText("optimizer");
        SearchAxis[] search = [.. (fields.Objects("search") ?? throw fields.Error("search", "is missing")).Select(ReadAxis)];
        IReadOnlyList<string> takes = baseline is null ? [] : fields.Texts("takes") ?? [];
        if (baseline is null)
            fields.Ignore("passes", "multiples");
        fields.Finish();
        if (label.Contains(',', StringComparison.Ordinal))
            throw fields.Error("optimizer", $"is \"{label}\"; name one optimizer, and the others in objects of their own");
        Candidate candidate;
        try
        {
            candidate = Candidate.Parse([label], [], new OptimizerSettings())[0];
        }
        catch (UserException e)
        {
            throw fields.Error("optimizer", $"is \"{label}\": {e.Message}");
        }

        // Names of settings may have hyphens and capital letters.
        string[] set = [.. candidate.Label.Split(':').Skip(1).Select(part => part.Split('=')[0])], names = [.. set, .. search.Select(axis => axis.Name), .. takes];
        if (names.GroupBy(name => name.Trim().Replace('-', '_'), StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw fields.Error("search", $"states {twice.Key} twice, among the settings of \"{label}\", search and takes; state it once");
        if (!search.Any(axis => axis.Name == "lr"))
            throw fields.Error("search", "has no axis lr; state the learning rates to try");
        return new ProtocolOptimizer(candidate, search, takes);
    }

    private static SearchAxis ReadAxis(JsonFields fields)
    {
        string name = fields.RequiredText("name");
        IReadOnlyList<double> grid = fields.Numbers("grid") ?? throw fields.Error("grid", "is missing"), further = fields.Numbers("further") ?? [];
        double start = fields.Number("start") ?? (grid.Count > 0 ? grid[grid.Count / 2] : 0);
        fields.Finish();
        if (grid.Count == 0 || !IsAscending(grid))
            throw fields.Error("grid", "must be ascending values, at least one");
        if (!IsAscending(further) || further.Any(value => value >= grid[0] && value <= grid[^1]))
            throw fields.Error("further", $"must be ascending values outside the grid ({grid[0].ToString(CultureInfo.InvariantCulture)} to {grid[^1].ToString(CultureInfo.InvariantCulture)})");
        if (name == "lr" && grid.Concat(further).Any(value => value <= 0))
            throw fields.Error("grid", "has a learning rate that is not above 0; leave it out");
        if (!grid.Contains(start))
            throw fields.Error("start", $"is {start.ToString(CultureInfo.InvariantCulture)}, which the grid does not have");
        return new SearchAxis(name, grid, further, start);
    }

    private static bool IsAscending(IReadOnlyList<double> values) => values.Zip(values.Skip(1)).All(pair => pair.First < pair.Second);

    private void Check(JsonFields fields, JsonFields baseline)
    {
        if (Name.Length == 0 || !Name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-'))
            throw fields.Error("name", $"is \"{Name}\"; use letters, digits, points and hyphens");
        if (Validations < 1)
            throw fields.Error("validations", $"is {Validations}; it must be at least 1");
        if (Passes < 1)
            throw baseline.Error("passes", $"is {Passes}; it must be at least 1");
        if (Warmup is < 0 or > 1)
            throw fields.Error("warmup", "is a fraction of the run; it must be from 0 to 1");
        if (Seeds.Count == 0 || Seeds.Distinct().Count() != Seeds.Count)
            throw fields.Error("seeds", "must be different seeds, at least one");
        if (Multiples.Any(multiple => multiple is <= 0 or 1) || Multiples.Distinct().Count() != Multiples.Count)
            throw baseline.Error("multiples", "must be above 0, other than 1, and different");
        // Folders of runs are named after the optimizers.
        if (Optimizers.GroupBy(optimizer => optimizer.Candidate.FileName, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw fields.Error("optimizers", twice.Select(optimizer => optimizer.Candidate.Label).Distinct().Count() == 1
                ? $"has {twice.First().Candidate.Label} twice" : $"has {string.Join(" and ", twice.Select(optimizer => optimizer.Candidate.Label))}, whose runs would have the same folder; write a value in another way");
        if (Training.EvalBatches == 0 || Training.Validation == 0)
            throw fields.Error("training", "has no validation (eval_batches or validation is 0), whose loss is what a protocol compares; give another value");
        long least = SmallestBatch;
        if (Batches.Count == 0 || Batches.Distinct().Count() != Batches.Count || Batches.Any(batch => batch <= 0 || batch % least != 0))
            throw fields.Error("batches", $"must be different multiples of {least} tokens, which training.batch sequences of training.block tokens {(Training.Shards > 1 ? "in each shard " : "")}have");
        double[] updates = [.. Batches.SelectMany(batch => Multiples.Append(1).Select(multiple => Updates(batch, multiple)))];
        if (updates.Min() < 1)
            throw fields.Error("tokens", $"is {Tokens}, which is less than one update of the largest batch or the smallest multiple");
        if (updates.Max() > int.MaxValue)
            throw fields.Error("tokens", $"is {Tokens}, which is more than {int.MaxValue} updates of the smallest batch or the largest multiple");
        if (Validations > updates.Min())
            throw fields.Error("validations", $"is {Validations}, more than the {updates.Min()} updates of the shortest run");
        foreach (ProtocolOptimizer optimizer in Optimizers)
        {
            if (optimizer.Takes.FirstOrDefault(name => !Optimizers[0].Search.Any(axis => axis.Name == name)) is { } missing)
                throw fields.Error("optimizers", $"has {optimizer.Candidate.Label}, which takes {missing}; the baseline does not search that");
            CheckRanges(fields, optimizer);
        }
    }

    /// <summary>Checks every value that a search may try.</summary>
    private void CheckRanges(JsonFields fields, ProtocolOptimizer optimizer)
    {
        IEnumerable<SearchAxis> axes = optimizer.Search.Concat(Optimizers[0].Search.Where(axis => optimizer.Takes.Contains(axis.Name)));
        foreach (SearchAxis axis in axes)
        {
            foreach (double value in axis.Grid.Concat(axis.Further))
            {
                try
                {
                    TrainingSettings settings = Of(optimizer, new Dictionary<string, double> { ["lr"] = 1e-3, [axis.Name] = value }, Batches[0], 1, TuningSeed);
                    settings.Check();
                    settings.Optimizer.Check();
                }
                catch (UserException e)
                {
                    throw fields.Error("optimizers", string.Create(CultureInfo.InvariantCulture, $"has {optimizer.Candidate.Label}, for which {axis.Name} {value} is invalid: {e.MessageWith(Values.PathOf)}"));
                }
            }
        }
    }
}
