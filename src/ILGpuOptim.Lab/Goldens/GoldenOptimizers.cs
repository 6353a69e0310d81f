using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>
/// Maps names and settings of recorded trajectories to optimizers. A setting has the name of our option, or one of <see cref="Names"/>;
/// <c>betas</c> and <c>eps</c> may be lists. Where a group and the whole optimizer state a setting, that of the whole optimizer applies.
/// </summary>
internal static class GoldenOptimizers
{
    private static readonly Dictionary<string, string> Names = new()
    {
        ["amsgrad"] = "ams_grad",
        ["caution"] = "cautious",
        ["corrected_weight_decay"] = "corrected_decay",
        ["d"] = "clip_threshold",
        ["decouple"] = "decoupled_decay",
        ["decoupled_weight_decay"] = "decoupled_decay",
        ["DeltaT"] = "reset_interval",
        ["disable_nl"] = "disable_limiter",
        ["grad_averaging"] = "gradient_averaging",
        ["eta_min"] = "cosine_floor",
        ["grad_accu_steps"] = "clip_delay",
        ["initial_accumulator_value"] = "initial_sum",
        ["lr_decay"] = "rate_decay",
        ["decouple_lr"] = "fully_decoupled_decay",
        ["max_lr"] = "max_learning_rate",
        ["lr_1d_factor"] = "vector_rate",
        ["optimize_1d"] = "corrects_vectors",
        ["weight_decay_1d"] = "vector_decay",
        ["max_grad_norm"] = "max_gradient_norm",
        ["alpha"] = "scale",
        ["bs"] = "batch_tokens",
        ["hess_interval"] = "curvature_interval",
        ["mu"] = "momentum",
        ["r"] = "average_power",
        ["weight_lr_power"] = "rate_power",
        ["threshold"] = "spike_ratio",
        ["total_T"] = "cosine_steps",
        ["warmup_steps"] = "reset_warmup",
        ["ns_steps"] = "iterations",
        ["power_iters"] = "power_rounds",
        ["precondition_1d"] = "precondition_vectors",
        ["rank_multiple_of"] = "rank_multiple",
        ["proj"] = "projection_basis",
        ["proj_type"] = "projection_type",
        ["update_proj_gap"] = "update_projection_gap",
    };

    /// <summary>Names of recorded state that differ from ours.</summary>
    private static readonly Dictionary<(string Optimizer, string Recorded), string> StateNames = new()
    {
        [("cautious_adamw", "momentum")] = "exp_avg",
        [("cautious_adamw", "variance")] = "exp_avg_sq",
        [("scale", "moment1")] = "exp_avg",
        [("scale", "moment2")] = "exp_avg_sq",
        [("adam_mini", "m")] = "exp_avg",
        [("adam_mini", "v")] = "v_mean",
        [("adam_mini", "vmean")] = "v_mean",
    };

    /// <summary>The optimizers of recorded names, with the defaults of the reference where a case may omit a setting.</summary>
    private static readonly Dictionary<string, OptimizerEntry> Entries = new[]
    {
        Entry("sgd", _ => new Sgd(), new SgdOptions()),
        Entry("adagrad", _ => new Adagrad(), new AdagradOptions()),
        Entry("rmsprop", _ => new RmsProp(), new RmsPropOptions()),
        Entry("adam", _ => new Adam(), new AmsGradOptions()),
        Entry("nadam", _ => new NAdam(), new NAdamOptions()),
        Entry("radam", _ => new RAdam(), new RAdamOptions()),
        Entry("adamw", _ => new AdamW(), new AmsGradOptions()),
        Entry("adam_mini", _ => new AdamMini(), new AdamMiniOptions()),
        Entry("lion", _ => new Lion(), new LionOptions()),
        Entry("signum", _ => new Signum(), new SignumOptions { Momentum = 0.09 }),
        Entry("stableadamw", _ => new StableAdamW(), new StableAdamWOptions()),
        Entry("adopt", _ => new Adopt(), new AdoptOptions()),
        Entry("mars", _ => new Mars(), new MarsOptions()),
        Entry("ademamix", _ => new AdEmaMix(), new AdEmaMixOptions()),
        Entry("spam", _ => new Spam(), new SpamOptions()),
        Entry("stable_spam", _ => new StableSpam(), new StableSpamOptions()),
        Entry("came", _ => new Came(), new CameOptions()),
        Entry("galore", _ => new GaLore(), new GaLoreOptions { Scale = 1 }),
        Entry("fira", _ => new Fira(), new FiraOptions()),
        Entry("apollo", _ => new Apollo(), new ApolloOptions()),
        Entry("apollo_mini", _ => new Apollo { IsMini = true }, new ApolloOptions()),
        Entry("lamb_nv", _ => new Lamb(), new LambOptions { MaxGradientNorm = 0 }),
        Entry("adafactor_torch", _ => new Adafactor(), new AdafactorOptions()),
        Entry("adafactor_hf", _ => new AdafactorRelative(), new AdafactorRelativeOptions()),
        Entry("muon_kj", _ => new Muon(), new MuonOptions()),
        Entry("cautious_adamw", _ => new AdamW(), new AmsGradOptions { AmsGrad = false, Parts = [new Cautious()] }),
        Entry("cautious_lion", _ => new Lion(), new LionOptions { Parts = [new Cautious { CautionForm = CautionForm.Count }] }),
        Entry("cautious_muon", _ => new Muon(), new MuonOptions { Parts = [new Cautious()] }),
        Entry("torch_muon", _ => new Muon(), new MuonOptions { Form = MuonForm.Torch }),
        Entry("normuon", _ => new NorMuon(), new OrthogonalOptions()),
        Entry("soap", _ => new Soap(), new SoapOptions()),
        Entry("dion", _ => new Dion(), new DionOptions()),
        Entry("dion_simple", _ => new Dion(), new DionOptions { Variant = DionForm.Simple, Rank = 768 }),
        Entry("schedulefree_adamw", _ => new ScheduleFreeAdamW(), new ScheduleFreeAdamWOptions()),
        Entry("schedulefree_sgd", _ => new ScheduleFreeSgd(), new ScheduleFreeSgdOptions()),
        Entry("prodigy", _ => new Prodigy(), new ProdigyOptions()),
        Entry("sophia", _ => new Sophia(), new SophiaOptions()),
        Entry("scale", _ => new Scale(), new ScaleOptions()),
        Entry("muon_kozistr", _ => new Muon(), new MuonOptions { Form = MuonForm.Collection }),
    }.ToDictionary(entry => entry.Name);

    /// <summary>Our name of a recorded state.</summary>
    public static string StateName(string optimizer, string recorded) => StateNames.GetValueOrDefault((optimizer, recorded), recorded);

    /// <summary>Recorded names of one of our states.</summary>
    public static IEnumerable<string> RecordedNames(string optimizer, string state) =>
        [state, .. StateNames.Where(pair => pair.Key.Optimizer == optimizer && pair.Value == state).Select(pair => pair.Key.Recorded)];

    /// <summary>Makes the optimizer of a case.</summary>
    /// <exception cref="UserException">There is none of that name.</exception>
    public static Optimizer Create(GoldenCase golden) => Find(golden).Create(StateStorage.F32);

    /// <summary>The options of a parameter.</summary>
    /// <exception cref="UserException">A setting has no counterpart here; the message names it.</exception>
    public static OptimizerOptions OptionsOf(GoldenCase golden, GoldenParameter parameter)
    {
        OptimizerEntry entry = Find(golden);
        var hyper = new GoldenSettings(golden.HyperOf(parameter.Name), "the setting");
        var instance = new GoldenSettings(golden.InstanceOptions, "the option");
        if (!hyper.Has("lr"))
            throw new UserException($"the group of {parameter.Name} has no lr");
        OptimizerOptions options = entry.Defaults with { LearningRate = hyper.Number("lr", 0), WeightDecay = hyper.Number("weight_decay", 0), Maximize = hyper.Flag("maximize") };
        if (options is MuonOptions { Form: not MuonForm.Torch } muon)
            options = Muon(muon, hyper);
        options = GoldenForms.Of(options, golden, parameter, hyper, instance);
        if (options is AdamMiniOptions mini)
            options = AdamMini(mini, hyper, instance, parameter);
        if (options is StableSpamOptions spam)
            options = spam with { ResetInterval = instance.Whole("update_proj_gap", spam.ResetInterval) };
        if (options is RmsPropOptions mean)
            options = mean with { Beta2 = hyper.Number("alpha", mean.Beta2) };
        if (options is MarsOptions mars)
            options = Mars(mars, hyper, instance);
        if (options is AdoptOptions adopt)
            options = Adopt(adopt, instance);
        foreach (OptimizerOption option in entry.Options)
        {
            string[] recorded = [option.Name, .. Names.Where(name => name.Value == option.Name).Select(name => name.Key)];
            string? ofGroup = hyper.ValueOf(option, recorded), ofAll = instance.ValueOf(option, recorded);
            if ((ofAll ?? ofGroup) is { } value)
                option.Set(options, value);
        }

        // One of the reference's two paths adds ε to the uncorrected moment; the other ignores correct_bias.
        if (golden.Optimizer == "cautious_adamw")
            options = instance.Flag("foreach", true) ? (AmsGradOptions)options with { CorrectBias = true } : (AmsGradOptions)options with { EpsilonForm = EpsilonForm.Uncorrected };
        hyper.RequireNothingElse();
        instance.RequireNothingElse();
        return options is ApolloOptions apollo ? Apollo(apollo, parameter.Shape) : options;
    }

    private static OptimizerEntry Entry(string name, Func<StateStorage, Optimizer> create, OptimizerOptions defaults) => new(name, "", create, defaults);

    private static OptimizerEntry Find(GoldenCase golden) => Entries.GetValueOrDefault(golden.Optimizer) ?? throw new UserException("missing: there is no such optimizer here");

    /// <summary>The flag <c>use_adjusted_lr</c> selects the original factor, against its own documentation.</summary>
    private static MuonOptions Muon(MuonOptions o, GoldenSettings hyper) => o with
    {
        CoupledDecay = !hyper.Flag("weight_decouple", true),
        Orthogonalises = hyper.Flag("use_muon"),
        Scaling = hyper.Flag("use_adjusted_lr") || o.Form == MuonForm.Original ? MuonScaling.Original : MuonScaling.Moonlight,
    };

    private static MarsOptions Mars(MarsOptions o, GoldenSettings hyper, GoldenSettings instance)
    {
        if (!instance.Flag("is_approx", true))
            throw new UserException("not supported: the option is_approx = false, whose gradients at earlier parameters are not recorded");
        double[] betas = instance.Numbers("betas_1d") ?? [o.VectorBeta1, o.VectorBeta2];
        (string, MarsKind)[] kinds = [("mars-adamw", MarsKind.AdamW), ("mars-lion", MarsKind.Lion), ("mars-shampoo", MarsKind.Shampoo)];
        return o with { Kind = instance.Choice("mars_type", hyper.Choice("mars_type", o.Kind, kinds), kinds), VectorBeta1 = betas[0], VectorBeta2 = betas[^1] };
    }

    /// <summary>The bound of the reference is a function of t, the number of steps before this one: <c>t^0.25</c>, or none.</summary>
    private static AdoptOptions Adopt(AdoptOptions o, GoldenSettings instance) => instance.Text("clip") switch
    {
        null or "none" or "None" => o with { ClipsNormalized = false },
        ['t', '^', .. string exponent] when double.TryParse(exponent, System.Globalization.CultureInfo.InvariantCulture, out double power) => o with { ClipExponent = power },
        string other => throw new UserException($"not supported: the option clip = \"{other}\" instead of t^NUMBER or null"),
    };

    /// <summary>The reference chooses blocks by parts of the parameter's name, of which the first that occurs counts; one of its heads has <c>head_numel</c> elements.</summary>
    private static AdamMiniOptions AdamMini(AdamMiniOptions o, GoldenSettings hyper, GoldenSettings instance, GoldenParameter parameter)
    {
        o = o with { Blocks = hyper.Choice("blocks", MiniBlocks.Rows, ("rows", MiniBlocks.Rows), ("columns", MiniBlocks.Columns), ("tensor", MiniBlocks.Tensor)), HeadLines = hyper.Whole("head_lines", 0) };
        int head = instance.Whole("head_numel", 0);
        instance.Has("names");
        if (hyper.Text("name")?.ToLowerInvariant() is not { } name)
            return o;
        bool Has(params ReadOnlySpan<string> parts)
        {
            foreach (string part in parts)
            {
                if (name.Contains(part, StringComparison.Ordinal))
                    return true;
            }

            return false;
        }

        int length = Has("bias") ? 1
            : Has("k_proj", "q_proj", "wq", "wk", "query", "key") ? head
            : Has("embed", "embd", "wte", "lm_head", "output", "final_layer", "v_proj", "wv", "value", "feed_forward", "linear", "mlp", "o_proj", "wo", "attn.proj") ? parameter.Shape[^1]
            : parameter.Length;
        return o with { BlockLength = length };
    }

    /// <summary>
    /// The reference takes the axis of a channel from the gradient's sizes. Where the other side is projected to one dimension, its one factor
    /// meets the whole tensor.
    /// </summary>
    private static ApolloOptions Apollo(ApolloOptions o, IReadOnlyList<int> shape)
    {
        bool meetsAll = o.Rank == 1 && shape.Count == 2 && Projection.Of(shape, o) is var projection && (projection.IsFull || projection.IsLeft != shape[0] < shape[1]);
        return meetsAll ? o with { ScaleType = ScaleType.Tensor } : o;
    }
}
