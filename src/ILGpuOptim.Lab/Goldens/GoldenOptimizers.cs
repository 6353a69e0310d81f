using ILGpuOptim.Optim;

namespace ILGpuOptim.Lab;

/// <summary>Maps names and settings of recorded trajectories to optimizers.</summary>
internal static class GoldenOptimizers
{
    /// <summary>Makes the optimizer of a case.</summary>
    /// <exception cref="UserException">There is none of that name.</exception>
    public static Optimizer Create(GoldenCase golden) => golden.Optimizer switch
    {
        "sgd" => new Sgd(),
        "adam" => new Adam(),
        "adamw" => new AdamW(),
        "adam_mini" => new AdamMini(),
        "lion" => new Lion(),
        "came" => new Came(),
        "galore" => new GaLore(),
        "fira" => new Fira(),
        "apollo" or "apollo_mini" => new Apollo { IsMini = golden.Optimizer == "apollo_mini" },
        "lamb_nv" or "lamb_kozistr" => new Lamb(),
        "adafactor_torch" => new Adafactor(),
        "adafactor_hf" => new AdafactorRelative(),
        "muon_kj" or "muon_kozistr" => new Muon(),
        _ => throw new UserException("missing: there is no such optimizer here"),
    };

    /// <summary>The options of a parameter.</summary>
    /// <exception cref="UserException">A setting has no counterpart here; the message names it.</exception>
    public static OptimizerOptions OptionsOf(GoldenCase golden, GoldenParameter parameter)
    {
        var hyper = new GoldenSettings(golden.HyperOf(parameter.Name), "the setting");
        var instance = new GoldenSettings(golden.InstanceOptions, "the option");
        if (!hyper.Has("lr"))
            throw new UserException($"the group of {parameter.Name} has no lr");
        OptimizerOptions options = OptionsOf(golden.Optimizer, hyper, instance, parameter.Shape) with
        {
            LearningRate = hyper.Number("lr", 0),
            WeightDecay = hyper.Number("weight_decay", 0),
            Maximize = hyper.Flag("maximize"),
        };

        // The collection's LAMB adds coupled decay to a gradient that is not read afterwards.
        if (golden.Optimizer == "lamb_kozistr" && !hyper.Flag("weight_decouple", true))
            options = options with { WeightDecay = 0 };
        hyper.RequireNothingElse();
        instance.RequireNothingElse();
        return options;
    }

    private static OptimizerOptions OptionsOf(string optimizer, GoldenSettings hyper, GoldenSettings instance, IReadOnlyList<int> shape) => optimizer switch
    {
        "sgd" => new SgdOptions { Momentum = hyper.Number("momentum", 0), Dampening = hyper.Number("dampening", 0), Nesterov = hyper.Flag("nesterov") },
        "adam" or "adamw" => Betas(hyper, hyper.Flag("amsgrad") ? new AmsGradOptions() : new AdamOptions()),
        "lion" => new LionOptions { Beta1 = hyper.Item("betas", 0) ?? 0.9, Beta2 = hyper.Item("betas", 1) ?? 0.99 },
        "adam_mini" => Betas(hyper, new AdamMiniOptions
        {
            Blocks = hyper.Choice("blocks", MiniBlocks.Rows, ("rows", MiniBlocks.Rows), ("columns", MiniBlocks.Columns), ("tensor", MiniBlocks.Tensor)),
            HeadLines = hyper.Whole("head_lines", 0),
            HeadSize = hyper.Whole("head_size", 1),
        }),
        "came" => Came(hyper),
        "galore" => LowRank(hyper, new GaLoreOptions { Scale = hyper.Number("scale", 1) }),
        "fira" => LowRank(hyper, new FiraOptions
        {
            Alpha = hyper.Number("alpha", 1),
            WholeResidual = instance.Flag("whole_residual"),
            DisableLimiter = instance.Flag("disable_nl"),
            LimiterIgnoresZero = instance.Flag("limiter_ignores_zero"),
        }),
        "apollo" or "apollo_mini" => Apollo(hyper, instance, shape),
        "lamb_nv" => NvidiaLamb(hyper),
        "lamb_kozistr" => CollectionLamb(hyper, instance),
        "adafactor_torch" => Adafactor(hyper),
        "adafactor_hf" => AdafactorRelative(hyper),
        "muon_kj" => Muon(hyper, MuonForm.Original),
        _ => Muon(hyper, MuonForm.Collection),
    };

    private static CameOptions Came(GoldenSettings hyper)
    {
        var o = new CameOptions();
        return o with
        {
            Beta1 = hyper.Item("betas", 0) ?? o.Beta1,
            Beta2 = hyper.Item("betas", 1) ?? o.Beta2,
            Beta3 = hyper.Item("betas", 2) ?? o.Beta3,
            Epsilon1 = hyper.Item("eps", 0) ?? o.Epsilon1,
            Epsilon2 = hyper.Item("eps", 1) ?? o.Epsilon2,
            ClipThreshold = hyper.Number("clip_threshold", o.ClipThreshold),
            BiasCorrection = hyper.Flag("bias_correction"),
        };
    }

    private static AdafactorOptions Adafactor(GoldenSettings hyper)
    {
        var o = new AdafactorOptions();
        return o with
        {
            Beta2Decay = hyper.Number("beta2_decay", o.Beta2Decay),
            Epsilon1 = hyper.Item("eps", 0) ?? o.Epsilon1,
            Epsilon2 = hyper.Item("eps", 1) ?? o.Epsilon2,
            ClipThreshold = hyper.Number("d", o.ClipThreshold),
        };
    }

    private static AdafactorRelativeOptions AdafactorRelative(GoldenSettings hyper)
    {
        var o = new AdafactorRelativeOptions();
        return o with
        {
            DecayRate = hyper.Number("decay_rate", o.DecayRate),
            Epsilon1 = hyper.Item("eps", 0) ?? o.Epsilon1,
            Epsilon2 = hyper.Item("eps", 1) ?? o.Epsilon2,
            ClipThreshold = hyper.Number("clip_threshold", o.ClipThreshold),
            Beta1 = hyper.MaybeNumber("beta1"),
            ScaleParameter = hyper.Flag("scale_parameter", o.ScaleParameter),
            RelativeStep = hyper.Flag("relative_step", o.RelativeStep),
            WarmupInit = hyper.Flag("warmup_init"),
        };
    }

    private static LambOptions NvidiaLamb(GoldenSettings hyper) => Betas(hyper, new LambOptions
    {
        BiasCorrection = hyper.Flag("bias_correction", true),
        GradientAveraging = hyper.Flag("grad_averaging", true),
        MaxGradientNorm = hyper.Number("max_grad_norm", 0),
        TrustClip = hyper.Flag("trust_clip"),
        AlwaysAdapt = hyper.Flag("always_adapt"),
        Cautious = hyper.Flag("caution"),
        DecoupledDecay = hyper.Flag("decoupled_decay"),
        CorrectedDecay = hyper.Flag("corrected_weight_decay"),
    });

    /// <summary>Rectification is not defined here.</summary>
    private static LambOptions CollectionLamb(GoldenSettings hyper, GoldenSettings instance)
    {
        if (hyper.Flag("rectify"))
            throw new UserException("not supported: the setting rectify = true");
        return Betas(hyper, new LambOptions
        {
            Form = LambForm.Collection,
            GradientAveraging = hyper.Flag("grad_averaging", true),
            MaxGradientNorm = hyper.Number("max_grad_norm", 1),
            FixedDecay = hyper.Flag("fixed_decay"),
            TrustRatio = !hyper.Flag("adam"),
            PreNormalizes = instance.Flag("pre_norm"),
        });
    }

    /// <summary>The flag <c>use_adjusted_lr</c> selects the original factor, against its own documentation.</summary>
    private static MuonOptions Muon(GoldenSettings hyper, MuonForm form)
    {
        var o = new MuonOptions { Form = form, CoupledDecay = !hyper.Flag("weight_decouple", true) };
        return hyper.Flag("use_muon")
            ? o with
            {
                Momentum = hyper.Number("momentum", o.Momentum),
                Nesterov = hyper.Flag("nesterov", true),
                Iterations = hyper.Whole("ns_steps", o.Iterations),
                Scaling = form == MuonForm.Original || hyper.Flag("use_adjusted_lr") ? MuonScaling.Original : MuonScaling.Moonlight,
            }
            : Betas(hyper, o with { Orthogonalises = false });
    }

    /// <summary>
    /// The reference takes the axis of a channel from the gradient's sizes. Where the other side is projected to one dimension, its one factor
    /// meets the whole tensor.
    /// </summary>
    private static ApolloOptions Apollo(GoldenSettings hyper, GoldenSettings instance, IReadOnlyList<int> shape)
    {
        ApolloOptions o = LowRank(hyper, new ApolloOptions
        {
            Scale = hyper.Number("scale", 1),
            ScaleType = hyper.Choice("scale_type", ScaleType.Channel, ("channel", ScaleType.Channel), ("tensor", ScaleType.Tensor)),
            ScaleFront = instance.Flag("scale_front"),
            DisableLimiter = instance.Flag("disable_nl"),
            LimiterIgnoresZero = instance.Flag("limiter_ignores_zero"),
        });
        bool meetsAll = o.Rank == 1 && shape.Count == 2 && Projection.Of(shape, o.ProjectionType, o.Basis, 1) is var projection && (projection.IsFull || projection.IsLeft != shape[0] < shape[1]);
        return meetsAll ? o with { ScaleType = ScaleType.Tensor } : o;
    }

    private static T Betas<T>(GoldenSettings hyper, T o) where T : AdamOptions => o with
    {
        Beta1 = hyper.Item("betas", 0) ?? o.Beta1,
        Beta2 = hyper.Item("betas", 1) ?? o.Beta2,
        Epsilon = hyper.Number("eps", o.Epsilon),
    };

    /// <summary>A group without a rank is trained by plain Adam.</summary>
    private static T LowRank<T>(GoldenSettings hyper, T o) where T : LowRankOptions => Betas(hyper, o) with
    {
        Rank = hyper.Whole("rank", 0),
        UpdateProjectionGap = hyper.Whole("update_proj_gap", 200),
        CorrectBias = hyper.Flag("correct_bias", true),
        Basis = hyper.Choice("proj", o.Basis, ("random", ProjectionBasis.Random), ("svd", ProjectionBasis.Svd)),
        ProjectionType = hyper.Choice("proj_type", ProjectionType.Std,
            ("std", ProjectionType.Std), ("reverse_std", ProjectionType.ReverseStd), ("left", ProjectionType.Left), ("right", ProjectionType.Right), ("full", ProjectionType.Full)),
    };
}
