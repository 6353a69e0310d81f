#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim.CommandLine/ILGpuOptim.CommandLine.csproj
#:property PublishAot=false

// A new optimizer in one file: dotnet run -c Release samples/my-optimizer.cs
// checks it, prints the size of its state, trains it beside AdamW and Lion, and draws their losses, in about a minute. Arguments go to the
// command line tool, which knows the optimizer by its name: dotnet run -c Release samples/my-optimizer.cs -- kernels hesitant
using System.ComponentModel;
using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Validation;

Registry.Add(new OptimizerEntry("hesitant", "the sign of a momentum, where the gradient agrees", storage => new Hesitant { Storage = storage }, new HesitantOptions())
{
    // Optional: the update in plain doubles, with which the kernels are compared.
    Equations = (p, g, state, at) =>
    {
        double[] m = state["momentum"];
        var o = (HesitantOptions)at.Options;
        for (int i = 0; i < p.Length; i++)
        {
            double u = o.Beta1 * m[i] + (1 - o.Beta1) * g[i];
            p[i] = p[i] * (1 - at.LearningRate * o.WeightDecay) - at.LearningRate * (u * g[i] > 0 ? Math.Sign(u) : 0);
            m[i] = o.Beta2 * m[i] + (1 - o.Beta2) * g[i];
        }
    },
});

if (args.Length > 0)
    return CommandLine.Run(args);
int failed = CommandLine.Run("check", "hesitant");
return failed != 0 ? failed : CommandLine.Run(
    "compare", "--optimizers", "adamw,lion,hesitant", "--lr", "1e-3,3e-3,1e-2", "--preset", "tiny", "--hidden-size", "64",
    "--steps", "300", "--eval-interval", "75", "--eval-batches", "20", "--out", $"runs/my-optimizer-{DateTime.Now:yyyyMMdd-HHmmss}");

/// <summary>The options of the optimizer, which are also those of the command line.</summary>
internal sealed record HesitantOptions : OptimizerOptions
{
    [Description("weight of the momentum in an update")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.9;

    [Description("decay rate of the momentum")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.99;
}

/// <summary>
/// u = β₁m + (1-β₁)g; p = p (1 - lr · decay) - lr · sign(u) where u and g have the same sign; m = β₂m + (1-β₂)g: Lion (Chen et al.,
/// 2023) that waits where its momentum and the gradient disagree, as cautious optimizers do (Liang et al., 2024).
/// </summary>
internal sealed class Hesitant : Optimizer<HesitantOptions>
{
    public override string Name => "hesitant";

    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, HesitantOptions options) => [StateTensor.Signed("momentum", shape)];

    protected override void Update(in ParameterUpdate update, HesitantOptions o) =>
        update.Move(new Direction((float)o.Beta1, (float)o.Beta2), Decay.Before(o.WeightDecay), update["momentum"]);

    private readonly struct Direction(float beta1, float beta2) : IDirection1
    {
        private readonly float beta1 = beta1, beta2 = beta2;

        public L Of<L>(L g, ref L m) where L : struct, ILane<L>
        {
            L u = L.Splat(beta1) * m + L.Splat(1 - beta1) * g, zero = L.Splat(0), one = L.Splat(1);
            m = L.Splat(beta2) * m + L.Splat(1 - beta2) * g;
            return L.Select(L.Less(zero, u * g), L.Select(L.Less(u, zero), -one, one), zero);
        }
    }
}
