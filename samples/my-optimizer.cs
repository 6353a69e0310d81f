#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim.CommandLine/ILGpuOptim.CommandLine.csproj
#:property PublishAot=false

// A new optimizer in one file: dotnet run -c Release samples/my-optimizer.cs
// checks it, prints the size of its state, trains it beside AdamW and Lion, and draws their losses, in about a minute. Arguments go to the
// command line tool, which knows the optimizer by its name: dotnet run -c Release samples/my-optimizer.cs -- kernels hesitant
using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

Registry.Add(new OptimizerEntry("hesitant", "the sign of a momentum, where the gradient agrees", storage => new Hesitant { Storage = storage })
{
    // Optional: the update in plain doubles, with which the kernels are compared.
    Equations = (p, g, state, at) =>
    {
        double[] m = state[0];
        for (int i = 0; i < p.Length; i++)
        {
            double u = 0.9 * m[i] + 0.1 * g[i];
            p[i] = p[i] * (1 - at.LearningRate * at.Options.WeightDecay) - at.LearningRate * (u * g[i] > 0 ? Math.Sign(u) : 0);
            m[i] = 0.99 * m[i] + 0.01 * g[i];
        }
    },
});

if (args.Length > 0)
    return CommandLine.Run(args);
int failed = CommandLine.Run("check", "hesitant");
return failed != 0 ? failed : CommandLine.Run(
    "compare", "--optimizers", "adamw,lion,hesitant", "--lr", "1e-3,3e-3,1e-2", "--preset", "tiny", "--hidden-size", "64",
    "--steps", "300", "--eval-interval", "75", "--eval-batches", "20", "--out", $"runs/my-optimizer-{DateTime.Now:yyyyMMdd-HHmmss}");

/// <summary>
/// u = 0.9 m + 0.1 g; p = p (1 - lr · decay) - lr · sign(u) where u and g have the same sign; m = 0.99 m + 0.01 g: Lion (Chen et al.,
/// 2023) that waits where its momentum and the gradient disagree, as cautious optimizers do (Liang et al., 2024).
/// </summary>
internal sealed class Hesitant : Optimizer
{
    public override string Name => "hesitant";

    public override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options) => [StateTensor.Signed("momentum", shape)];

    protected override void Update(ParameterState state, double learningRate) => state.Parameter.Device.Map(
        new Rule((float)learningRate, (float)(1 - learningRate * state.Options.WeightDecay)),
        1, state.Parameter.Length, state.Parameter.Data, Gradient(state), state["momentum"]);

    private readonly struct Rule(float rate, float decay) : IMap3
    {
        private readonly float rate = rate, decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

        public void Apply<L>(ref L p, ref L g, ref L m) where L : struct, ILane<L>
        {
            L u = L.Splat(0.9f) * m + L.Splat(0.1f) * g, zero = L.Splat(0), step = L.Splat(rate);
            L signed = L.Select(L.Less(u, zero), -step, step);
            p = p * L.Splat(decay) - L.Select(L.Less(zero, u * g), signed, zero);
            m = L.Splat(0.99f) * m + L.Splat(0.01f) * g;
        }
    }
}
