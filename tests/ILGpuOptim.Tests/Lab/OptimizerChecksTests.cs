using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Lab;

/// <summary>What <c>check</c> asks of any optimizer holds for all of ours, and each check fails for one that is wrong in its way.</summary>
public class OptimizerChecksTests
{
    public static TheoryData<string> Optimizers => [.. Registry.Entries.Select(entry => entry.Name)];

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void EveryOptimizerPasses(string name)
    {
        Check[] checks = [.. OptimizerChecks.OnProcessor(Registry.Find(name))];
        Assert.True(checks.Length >= 13);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of {check.Bound:E0}, {check.Note}"));
    }

    /// <summary>Options that change the state or the rules.</summary>
    [Theory]
    [InlineData("rmsprop", "centered=true")]
    [InlineData("rmsprop", "momentum=0.9")]
    [InlineData("rmsprop", "centered=true", "momentum=0.9", "beta2=0.9")]
    [InlineData("adagrad", "rate_decay=0.05", "initial_sum=0.1")]
    [InlineData("nadam", "decoupled_decay=true", "momentum_decay=0.02")]
    [InlineData("radam", "decoupled_decay=true", "beta2=0.6")]
    [InlineData("signum", "momentum=0", "decoupled_decay=true")]
    [InlineData("stable-adamw", "fully_decoupled_decay=true", "max_learning_rate=0.5")]
    [InlineData("adopt", "clips_normalized=false", "decoupled_decay=true")]
    [InlineData("ademamix", "beta1=0", "alpha_warmup=30", "beta3_warmup=40")]
    [InlineData("mars", "kind=lion", "corrects_vectors=true")]
    [InlineData("mars", "kind=shampoo")]
    [InlineData("mars", "ams_grad=true", "vector_decay=0.1", "vector_rate=0.5")]
    [InlineData("spam", "spike_ratio=3", "reset_interval=15", "clip_delay=3", "reset_warmup=5")]
    [InlineData("spam", "spike_ratio=3", "clip_delay=0", "clip_ignores_zero=true", "correct_bias=false")]
    [InlineData("spam", "density=0.5", "reset_interval=3", "decays_masked=true")]
    [InlineData("stable-spam", "reset_interval=15", "cosine_steps=40", "gamma1=-1")]
    [InlineData("stable-spam", "reset_interval=3", "resets_first=true", "ams_grad=true")]
    public void VariantsPass(string name, params string[] options)
    {
        OptimizerSettings settings = options.Aggregate(OptimizerChecks.Settings with { Name = name }, (chosen, option) => chosen.With(option));
        Assert.All(OptimizerChecks.OnProcessor(Registry.Find(name), settings), check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of {check.Bound:E0}, {check.Note}"));
    }

    [Fact]
    public void ARightOnePassesEveryCheck() => Assert.Empty(Failed(Flaw.None));

    /// <summary>The equations catch a sign of weight decay, and so does a run without gradients, with no equations at all.</summary>
    [Fact]
    public void AWrongSignOfWeightDecayFails() => Assert.Equal(
        ["its equations, on the reference device", "its equations, on the cpu", "weight decay shrinks"], Failed(Flaw.DecaySign));

    [Fact]
    public void AnUpdateThatForgetsToCorrectItsBiasFails() => Assert.Equal(
        ["its equations, on the reference device", "its equations, on the cpu"], Failed(Flaw.Uncorrected));

    [Fact]
    public void LanesThatDisagreeFail() => Assert.Contains("double precision, in 128-bit vectors", Failed(Flaw.Lanes));

    [Fact]
    public void AMemoryOutsideTheStateFails() => Assert.Equal(
        ["f32 state: the same bits after a resume", "bf16 state: the same bits after a resume", "fp8 state: the same bits after a resume"], Failed(Flaw.Hidden));

    [Fact]
    public void ResultsThatDependOnThreadsFail() => Assert.Contains("f32 state: the same bits with 1, 2, 3 threads", Failed(Flaw.Threads));

    [Fact]
    public void DeviceMemoryThatIsNotGivenBackFails() => Assert.Equal(
        ["f32 state: declared bytes are allocated", "bf16 state: declared bytes are allocated", "fp8 state: declared bytes are allocated", "a step allocates nothing"], Failed(Flaw.Leak));

    [Fact]
    public void AManagedCopyOfTheParameterFails() => Assert.Equal(["a step allocates nothing"], Failed(Flaw.Copy));

    [Fact]
    public void NarrowStateThatIsNeverWrittenFails() => Assert.Equal(["bf16 state: stays close to f32", "fp8 state: stays close to f32"], Failed(Flaw.Unwritten));

    [Fact]
    public void AnUpdateThatIgnoresClippingFails() => Assert.Equal(["clipping multiplies the gradient", "maximizing climbs"], Failed(Flaw.Unclipped));

    [Fact]
    public void AnUpdateThatIgnoresMaximizeFails() => Assert.Equal(["maximizing climbs"], Failed(Flaw.Descending));

    [Fact]
    public void AnUpdateThatIgnoresTheScheduleFails() => Assert.Equal(
        ["its equations, on the reference device", "its equations, on the cpu", "the schedule scales the learning rate"], Failed(Flaw.Unscheduled));

    [Fact]
    public void ARuleThatNoGpuCanRunFails() => Assert.Equal(["compiles to PTX", "compiles to OpenCL C"], Failed(Flaw.Managed));

    [Fact]
    public void ADeviceThatIsNotThereIsSkippedWithItsReason()
    {
        Check check = OptimizerChecks.OnGpu("cuda:97", Registry.Find("sgd"));
        Assert.True(check.IsSkipped && !check.Passes);
        Assert.NotEmpty(check.Note!);
    }

    private static string[] Failed(Flaw flaw)
    {
        var entry = new OptimizerEntry("flawed", "for tests", storage => new Flawed(flaw) { Storage = storage }) { Equations = Flawed.Equations };
        return [.. OptimizerChecks.OnProcessor(entry).Concat(KernelRecorder.Targets.Select(target => OptimizerChecks.Compiles(target, entry))).Where(check => !check.Passes).Select(check => check.Name)];
    }

    private enum Flaw
    {
        None,
        DecaySign,
        Uncorrected,
        Lanes,
        Hidden,
        Threads,
        Leak,
        Copy,
        Unwritten,
        Managed,
        Unclipped,
        Descending,
        Unscheduled,
    }

    /// <summary>p = p (1 - lr · decay) - lr · m / (1 - 0.9ᵗ) with m = 0.9 m + 0.1 g, and one flaw.</summary>
    private sealed class Flawed(Flaw flaw) : Optimizer<OptimizerOptions>
    {
        private readonly Dictionary<string, double> seen = [];

        public override string Name => "flawed";

        protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options) => [StateTensor.Signed("momentum", shape)];

        protected override void Update(in ParameterUpdate update, OptimizerOptions options)
        {
            MemoryPool pool = update.Device.Pool;
            double decay = update.LearningRate * options.WeightDecay, rate = (flaw == Flaw.Unscheduled ? options.LearningRate : update.LearningRate) / (flaw == Flaw.Uncorrected ? 1 : 1 - Math.Pow(0.9, update.Step));
            if (flaw == Flaw.Hidden)
                rate *= seen[update.Name] = seen.GetValueOrDefault(update.Name, 1) * 0.9999999;
            if (flaw == Flaw.Threads)
                rate *= 1 + 1e-6 * ((update.Device as CpuDevice)?.Threads ?? 2);
            if (flaw == Flaw.Leak)
                pool.Rent(update.Length);
            if (flaw == Flaw.Copy)
                update.Device.Download(update.WeightValues, new float[update.Length]);
            bool forgets = flaw == Flaw.Unwritten && update["momentum"].Block.Type != DType.F32;
            Operand momentum = forgets ? pool.Rent(update.Length) : update["momentum"];
            if (forgets)
                update.Device.Fill(momentum.Block, 0);
            if (flaw == Flaw.Managed)
                update.Device.Map(new ManagedRule(), 1, 1, update.WeightValues.Slice(0, 1));
            if (flaw == Flaw.Lanes)
                update.Map(new WideRule((float)decay), update.Weights);
            Operand gradient = flaw switch
            {
                Flaw.Unclipped => update.Gradient.Block,
                Flaw.Descending => options.Maximize ? Negated(update) : update.Gradient,
                _ => update.Gradient,
            };
            update.Map(new Rule((float)rate, (float)(flaw == Flaw.DecaySign ? 1 + decay : 1 - decay)), update.Weights, gradient, momentum);
            if (forgets)
                pool.Return(momentum.Block);
            if (flaw == Flaw.Descending && options.Maximize)
                pool.Return(gradient.Block);
        }

        /// <summary>The gradient with the wrong sign, but clipped.</summary>
        private static Block Negated(in ParameterUpdate update)
        {
            Block negated = update.Device.Pool.Rent(update.Length);
            update.Map(new NegateRule(), update.Gradient, negated);
            return negated;
        }

        public static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
        {
            double[] m = state["momentum"];
            for (int i = 0; i < p.Length; i++)
            {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                p[i] = p[i] * (1 - at.LearningRate * at.Options.WeightDecay) - at.LearningRate * m[i] / (1 - Math.Pow(0.9, at.Step));
            }
        }

        private readonly struct NegateRule : IMap2
        {
            public static Access Access => Access.Of(Slot.Read, Slot.Write);

            public void Apply<L>(ref L g, ref L negated) where L : struct, ILane<L> => negated = -g;
        }

        private readonly struct ManagedRule : IMap1
        {
            public static Access Access => Access.Of(Slot.Update);

            public void Apply<L>(ref L p) where L : struct, ILane<L> => p *= L.Splat(Unsafe.SizeOf<L>() > 0 ? 1 : 0);
        }

        /// <summary>Does something in vectors alone.</summary>
        private readonly struct WideRule(float decay) : IMap1
        {
            private readonly float decay = decay;

            public static Access Access => Access.Of(Slot.Update);

            public void Apply<L>(ref L p) where L : struct, ILane<L> => p -= p * L.Splat(Unsafe.SizeOf<L>() > sizeof(double) ? decay : 0);
        }

        private readonly struct Rule(float rate, float decay) : IMap3
        {
            private readonly float rate = rate, decay = decay;

            public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

            public void Apply<L>(ref L p, ref L g, ref L m) where L : struct, ILane<L>
            {
                m = L.Fma(L.Splat(0.9f), m, L.Splat(0.1f) * g);
                p = p * L.Splat(decay) - L.Splat(rate) * m;
            }
        }
    }
}
