using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Parts by name on every kind of optimizer: what <c>check</c> asks, their equations, and compositions that equal an optimizer.</summary>
public class PartsTests
{
    public static TheoryData<string> Compositions =>
    [
        "adamw+cautious", "adam+decoupled-decay+trust-ratio", "lion+cautious+rms-clip+growth-limit", "sgd+spike-clip+growth-limit", "muon+cautious", "muon+rms-clip+trust-ratio",
        "came+cautious+trust-ratio", "galore+cautious", "fira+rms-clip", "apollo+cautious+decoupled-decay", "apollo-mini+growth-limit", "adafactor+trust-ratio",
        "adam-mini+cautious+growth-limit", "lamb+cautious+rms-clip", "adafactor-relative+spike-clip", "adafactor-relative+cautious+decoupled-decay", "stable-adamw+cautious+trust-ratio", "stable-adamw+decoupled-decay",
        "mars+cautious+rms-clip", "mars+decoupled-decay", "stable-spam+cautious+growth-limit", "sophia+cautious+trust-ratio", "prodigy+cautious+trust-ratio", "prodigy+decoupled-decay+rms-clip",
        "schedulefree-adamw+cautious+trust-ratio", "schedulefree-sgd+growth-limit", "normuon+cautious+rms-clip", "scale+trust-ratio", "soap+rms-clip", "dion+cautious+decoupled-decay", "nadam+cautious", "rmsprop+trust-ratio", "radam+rms-clip", "adopt+cautious", "adamw+spike-clip+cautious+decoupled-decay+rms-clip+trust-ratio+growth-limit",
    ];

    [Theory]
    [MemberData(nameof(Compositions))]
    public void EveryCompositionPassesWhatIsAskedOfAnOptimizer(string name)
    {
        OptimizerEntry entry = Registry.Find(name);
        Assert.Equal(name, entry.Name);
        Check[] checks = [.. OptimizerChecks.OnProcessor(entry), OptimizerChecks.Compiles("ptx", entry), OptimizerChecks.Compiles("opencl", entry)];
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of {check.Bound:E0}, {check.Note}"));
    }

    [Theory]
    [InlineData("adam+decoupled-decay", "adamw", "", "")]
    [InlineData("adamw+decoupled-decay", "adam", "decoupled_decay_form=gradient", "")]
    [InlineData("adam+decoupled-decay+trust-ratio", "lamb", "decoupled_decay_form=with_update epsilon=1e-6", "max_gradient_norm=0")]
    [InlineData("adamw+trust-ratio", "lamb", "epsilon=1e-6 trust_ratio_limit=1", "max_gradient_norm=0 decoupled_decay=true trust_clip=true")]
    [InlineData("lamb+trust-ratio+cautious", "lamb", "trust_ratio=false max_gradient_norm=0", "cautious=true max_gradient_norm=0")]
    public void ACompositionHasTheBitsOfTheOptimizerThatItEquals(string composition, string optimizer, string options, string ofOptimizer)
    {
        TrajectoryForm form = TrajectoryForm.Edge;
        using var device = new CpuDevice(2);
        using Trajectory left = Run(device, composition, options, form), right = Run(device, optimizer, ofOptimizer, form);
        Assert.All(left.Bits().Zip(right.Bits()), pair => Assert.Equal(pair.Second.Bytes, pair.First.Bytes));
    }

    /// <summary>The same kernels too: no pass is added.</summary>
    [Theory]
    [InlineData("adamw", 1)]
    [InlineData("adam+decoupled-decay", 1)]
    [InlineData("lion", 1)]
    [InlineData("lion+decoupled-decay", 1)]
    public void APartOfEachElementIsFused(string name, int kernels) => Assert.Equal($"{kernels} kernel", OptimizerChecks.Compiles("ptx", Registry.Find(name)).Note);

    /// <summary>A limit that is never reached shows that holding the direction changes nothing, in every storage of parameters and state.</summary>
    [Theory]
    [InlineData("adamw")]
    [InlineData("adam")]
    [InlineData("adam:ams_grad=true")]
    [InlineData("lion")]
    [InlineData("sgd")]
    [InlineData("sgd:momentum=0")]
    [InlineData("mars")]
    [InlineData("mars:kind=lion")]
    [InlineData("mars:ams_grad=true")]
    [InlineData("sophia")]
    public void ALimitThatIsNotReachedChangesNoBit(string name)
    {
        foreach (DType type in (DType[])[DType.F32, DType.BF16, DType.I8])
        {
            foreach (StateStorage storage in Enum.GetValues<StateStorage>())
            {
                string[] parts = name.Split(':');
                float[] alone = Train(parts[0], parts[1..], type, storage);
                Assert.Equal(alone, Train($"{parts[0]}+rms-clip", [.. parts[1..], "rms_clip_threshold=1e30"], type, storage));
                Assert.Equal(alone, Train($"{parts[0]}+growth-limit", [.. parts[1..], "growth_limit_factor=1e30"], type, storage));
            }
        }
    }

    /// <summary>As above, for optimizers whose move is rounded otherwise where the direction is held.</summary>
    [Theory]
    [InlineData("stable-adamw")]
    [InlineData("stable-adamw:fully_decoupled_decay=true")]
    [InlineData("stable-spam")]
    [InlineData("stable-spam:ams_grad=true")]
    [InlineData("mars:kind=shampoo")]
    [InlineData("prodigy")]
    [InlineData("prodigy:beta1=0")]
    [InlineData("prodigy:decouple=false")]
    [InlineData("schedulefree-adamw")]
    [InlineData("schedulefree-adamw:inner_momentum=0.8")]
    [InlineData("schedulefree-sgd")]
    [InlineData("adafactor-relative")]
    [InlineData("adafactor-relative:beta1=0.9")]
    [InlineData("adafactor-relative:beta1=0.9:scale_parameter=true:relative_step=true")]
    public void ALimitThatIsNotReachedChangesRoundingOnly(string name)
    {
        string[] parts = [.. name.Split(':'), "weight_decay=0.1"];
        float[] alone = Train(parts[0], parts[1..], DType.F32, StateStorage.F32);
        float[] limited = Train($"{parts[0]}+rms-clip+growth-limit", [.. parts[1..], "rms_clip_threshold=1e30", "growth_limit_factor=1e30"], DType.F32, StateStorage.F32);
        for (int i = 0; i < alone.Length; i++)
            Assert.True(Math.Abs(alone[i] - limited[i]) <= 1e-6 * Math.Max(1, Math.Abs(alone[i])), $"{i}: {limited[i]} instead of {alone[i]}");
        float[] decayed = Train($"{parts[0]}+decoupled-decay", [.. parts[1..], $"decoupled_decay_form={(name.StartsWith("schedulefree", StringComparison.Ordinal) ? "with_update" : "before")}"], DType.F32, StateStorage.F32);
        bool isOwn = !name.Contains("decouple", StringComparison.Ordinal);
        if (isOwn)
            Assert.All(alone.Zip(decayed), pair => Assert.True(Math.Abs(pair.First - pair.Second) <= 1e-6 * Math.Max(1, Math.Abs(pair.First)), $"{pair.Second} instead of {pair.First}"));
        else
            Assert.NotEqual(alone, decayed);
    }

    /// <summary>The trust ratio makes ‖Δp‖ the learning rate times ‖p‖, whatever the direction; of schedule-free optimizers that of z.</summary>
    [Theory]
    [InlineData("stable-adamw", 0.01)]
    [InlineData("stable-spam", 0.01)]
    [InlineData("mars", 0.01)]
    [InlineData("sophia", 0.01)]
    [InlineData("schedulefree-adamw", 0.01)]
    [InlineData("schedulefree-sgd", 0.01)]
    [InlineData("prodigy", 1)]
    [InlineData("adafactor-relative", 0.01)]
    public void TheTrustRatioSetsTheLengthOfAStep(string name, double rate)
    {
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "h.0.attn.p", 17, 31);
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, 0);
        OptimizerSettings settings = new OptimizerSettings { Name = $"{name}+trust-ratio", LearningRate = rate, WeightDecay = 0 }.With("trust_ratio_always=true");
        using Optimizer optimizer = Registry.Create(name == "prodigy" ? settings.With("d0=0.01") : settings, [parameter], out _);
        var gradients = new Gradients(device);
        for (int step = 1; step <= 4; step++)
        {
            float[] before = parameter.ToArray(), z = name.StartsWith("schedulefree", StringComparison.Ordinal) ? step == 1 ? before : Values(optimizer.States[0]["z"]) : [];
            device.Random(gradients.Target(parameter, out _), RandomKind.Normal, 0.01f, 2, (ulong)step);
            optimizer.Step(gradients);
            float[] after = z.Length > 0 ? Values(optimizer.States[0]["z"]) : parameter.ToArray();
            double expected = rate;
            if (name == "prodigy")
                expected *= Values(optimizer.Shared("d"))[0];
            double moved = Norm(after.Zip(z.Length > 0 ? z : before, (a, b) => a - b)), length = Norm(before);

            // StableAdamW divides its learning rate by up to the root mean square of g / √v, which is 1 in the first step.
            if (name == "stable-adamw" && step > 1)
                Assert.InRange(moved / length, 0.9 * expected, 1.0001 * expected);
            else
                Assert.Equal(expected, moved / length, 1e-4 * expected);
        }

        static double Norm(IEnumerable<float> values) => Math.Sqrt(values.Sum(value => (double)value * value));

        float[] Values(Block block)
        {
            var values = new float[block.Length];
            device.Download(block, values);
            return values;
        }
    }

    /// <summary>SGD's direction is the gradient, so that each part is seen alone.</summary>
    [Theory]
    [InlineData("rms-clip")]
    [InlineData("trust-ratio")]
    [InlineData("growth-limit")]
    [InlineData("spike-clip")]
    [InlineData("rms-clip+growth-limit")]
    public void PartsFollowTheirEquations(string parts)
    {
        const double Rate = 0.05;
        const int Length = 301;
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "p", Length);
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, 0);
        double[] p = Array.ConvertAll(parameter.ToArray(), value => (double)value);
        OptimizerSettings settings = new OptimizerSettings { Name = $"sgd+{parts}", LearningRate = Rate, WeightDecay = 0 }.With("momentum", 0);
        using Optimizer optimizer = Registry.Create(parts == "trust-ratio" ? settings.With("trust_ratio_always=true") : settings, [parameter], out _);
        var gradients = new Gradients(device);
        double previous = 0, mean = 0;
        for (int step = 1; step <= 12; step++)
        {
            var g = new float[Length];
            Block gradient = gradients.Target(parameter, out _);
            device.Random(gradient, RandomKind.Normal, step % 4 == 0 ? 0 : MathF.Pow(3, step % 3 - 1), 2, (ulong)step);
            device.Download(gradient, g);
            optimizer.Step(gradients);
            double[] u = Array.ConvertAll(g, value => (double)value);
            if (parts == "spike-clip")
            {
                double largest = u.Max(Math.Abs);
                mean = 0.999 * mean + (1 - 0.999) * largest;
                double limit = mean / (1 - Math.Pow(0.999, step));
                u = [.. u.Select(value => Math.Abs(value) > limit ? value * limit / largest : value)];
            }

            double Norm(double[] values) => Math.Sqrt(values.Sum(value => value * value));
            double factor = 1;
            if (parts.Contains("rms-clip", StringComparison.Ordinal))
                factor /= Math.Max(1, Norm(u) / Math.Sqrt(Length));
            if (parts == "trust-ratio" && Norm(u) > 0)
                factor *= Norm(p) / Norm(u);
            if (parts.Contains("growth-limit", StringComparison.Ordinal) && Norm(u) > 0)
            {
                double norm = factor * Norm(u), most = previous > 0 ? Math.Min(norm, 1.01 * previous) : norm;
                factor *= most / norm;
                previous = most;
            }

            p = [.. p.Zip(u, (value, direction) => value - Rate * factor * direction)];
        }

        float[] actual = parameter.ToArray();
        for (int i = 0; i < Length; i++)
            Assert.True(Math.Abs(actual[i] - p[i]) <= 2e-5 * Math.Max(1, Math.Abs(p[i])), $"{i}: {actual[i]} instead of {p[i]}");
    }

    [Theory]
    [MemberData(nameof(Compositions))]
    public void ANumberThatIsNoneStaysVisible(string name)
    {
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "h.0.attn.weight", 16, 33);
        var empty = new Parameter(device, "h.0.attn.empty", 0, 33);
        parameter.Load([.. Enumerable.Range(0, 16 * 33).Select(i => MathF.Sin(i))]);
        bool takesEmpty = Registry.Find(name) is { ChoosesMatrices: false };
        using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = name, LearningRate = 0.01 }, takesEmpty ? [parameter, empty] : [parameter], out _);
        var gradients = new Gradients(device);
        float[] values = [.. Enumerable.Range(0, 16 * 33).Select(i => MathF.Cos(i))];
        device.Upload(values, gradients.Target(parameter, out _));
        _ = gradients.Target(empty, out _);
        optimizer.Step(gradients);
        Assert.DoesNotContain(parameter.ToArray(), float.IsNaN);
        values[40] = float.NaN;
        device.Upload(values, gradients.Target(parameter, out _));
        if (optimizer is Dion)
        {
            Assert.Contains("is not finite", Assert.Throws<UserException>(() => optimizer.Step(gradients)).Message, StringComparison.Ordinal);
            return;
        }

        optimizer.Step(gradients);
        Assert.True(float.IsNaN(parameter.ToArray()[40]));
    }

    /// <summary>Momentum does not move a cautious optimizer where there is no gradient.</summary>
    [Fact]
    public void CautionRestsWithoutAGradient()
    {
        using var device = new CpuDevice(2);
        using Trajectory run = new(device, Registry.Find("adamw+cautious"), new OptimizerSettings { Name = "adamw+cautious", LearningRate = 0.01, WeightDecay = 0 }, TrajectoryForm.Edge);
        run.To(4);
        float[][] before = [.. run.Parameters.Select(parameter => parameter.ToArray())];
        run.To(5);
        Assert.Equal(before, [.. run.Parameters.Select(parameter => parameter.ToArray())]);
    }

    [Theory]
    [InlineData("adamw+cautios", "there is no part \"cautios\" of an optimizer; did you mean cautious?")]
    [InlineData("lionn+cautious", "there is no optimizer \"lionn\"; did you mean lion?")]
    [InlineData("adamw+cautious+cautious", "adamw+cautious+cautious has cautious twice; name each part once")]
    [InlineData("adamw+ema", "ema is no part of an optimizer; Ema averages the weights that any optimizer trains")]
    [InlineData("adamw+", "there is no part \"\" of an optimizer")]
    public void AWrongNameIsRefused(string name, string message) => Assert.StartsWith(message, Assert.Throws<UserException>(() => Registry.Find(name)).Message);

    [Theory]
    [InlineData("schedulefree-sgd+decoupled-decay", "weight_decay=0.1", "schedulefree-sgd: its weight decay is a part of the direction; set decoupled_decay_form to with_update, or leave decoupled-decay out")]
    [InlineData("came+decoupled-decay", "decoupled_decay_form=gradient", "this optimizer cannot add weight decay to the gradient; set decoupled_decay_form to before, with_update or after")]
    [InlineData("lamb+trust-ratio", "", "trust-ratio would act twice; the optimizer has it already, or it is named twice")]
    [InlineData("adamw+rms-clip", "rms_clip_threshold=0", "it must be a number above 0")]
    public void ACompositionThatCannotBeIsRefused(string name, string option, string message)
    {
        using var device = new CpuDevice(1);
        string text = Assert.ThrowsAny<UserException>(() => Run(device, name, option, TrajectoryForm.Usual).Dispose()).Message;
        Assert.Contains(message, text, StringComparison.Ordinal);
    }

    /// <summary>A composition is known by one name, in runs and in comparisons.</summary>
    [Fact]
    public void TheOrderOfNamesDoesNotMatter()
    {
        Assert.Equal("adamw+cautious+rms-clip", Registry.Find("AdamW + RMS-clip+cautious").Name);
        Assert.Contains("is named twice", Assert.Throws<UserException>(() => Candidate.Parse(["adamw+rms-clip+cautious,adamw+cautious+rms-clip"], [], new OptimizerSettings())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnOptionOfAPartThatIsNotNamedIsRefused() => Assert.Equal("adamw+rms-clip has no caution_floor; leave it out, or use +cautious",
        Assert.Throws<UserException>(() => new OptimizerSettings { Name = "adamw+rms-clip" }.With("caution_floor=0.1").Check()).Message);

    [Fact]
    public void AnOptionOfAPartIsASetting()
    {
        OptimizerSettings settings = new OptimizerSettings { Name = "adamw+rms-clip" }.With("rms_clip_threshold=0.5").With("beta1=0.8");
        settings.Check();
        var options = (AdamOptions)Registry.Find(settings.Name).OptionsOf(settings, "p", [2, 3]);
        Assert.Equal(0.5, Assert.IsType<RmsClip>(Assert.Single(options.Parts)).RmsClipThreshold);
        Assert.Equal(0.8, options.Beta1);
        Assert.Equal(1, ((RmsClip)Registry.Parts.Single(part => part is RmsClip)).RmsClipThreshold);
        Assert.Equal("adamw+rms-clip", settings.For("AdamW+RMS-clip").Name);
        Assert.Null(settings.For("adamw")["rms_clip_threshold"]);
    }

    private static Trajectory Run(Device device, string name, string options, TrajectoryForm form)
    {
        OptimizerSettings settings = options.Split(' ', StringSplitOptions.RemoveEmptyEntries).Aggregate(OptimizerChecks.Settings with { Name = name }, (changed, option) => changed.With(option));
        var run = new Trajectory(device, Registry.Find(name), settings, form);
        try
        {
            run.To(form.Steps);
        }
        catch
        {
            run.Dispose();
            throw;
        }

        return run;
    }

    /// <summary>The parameters after ten steps.</summary>
    private static float[] Train(string name, string[] options, DType type, StateStorage storage)
    {
        using var device = new CpuDevice(2);
        Parameter[] parameters = [new(device, "h.0.attn.even", type, 32, 256), new(device, "h.0.attn.odd", type, 67, 129), new(device, "h.0.attn.vector", type, 33)];
        var gradients = new Gradients(device);
        foreach (Parameter parameter in parameters)
            parameter.Load([.. Enumerable.Range(0, (int)parameter.Length).Select(i => MathF.Sin(i))]);
        OptimizerSettings settings = options.Aggregate(new OptimizerSettings { Name = name, LearningRate = 0.01, StateType = storage }, (changed, option) => changed.With(option));
        using Optimizer optimizer = Registry.Create(settings, parameters, out _);
        for (int step = 1; step <= 10; step++)
        {
            foreach (Parameter parameter in parameters)
                device.Random(gradients.Target(parameter, out _), RandomKind.Normal, 1, 3, (ulong)(step * 100 + parameter.Length));
            optimizer.Step(gradients);
        }

        float[] values = [.. parameters.SelectMany(parameter => parameter.ToArray())];
        gradients.Release();
        return values;
    }
}
