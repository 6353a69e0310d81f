using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace PeerBenchmarks.Workloads;

/// <summary>
/// An optimizer of this project over the parameters of GPT-2 124M; the case names the optimizer. <c>NAME-refresh</c> renews the basis at every
/// step, <c>NAME-randomized</c> too, by the randomized method; <c>products</c> is one Newton–Schulz iteration's products over a layer, without the rest.
/// </summary>
internal sealed class OurOptimizer : Workload
{
    /// <summary>Rows and columns of the matrices of a layer.</summary>
    private static readonly (int Rows, int Columns)[] Layer = [(768, 2304), (768, 768), (768, 3072), (3072, 768)];

    private readonly CpuDevice device = new(Threads);
    private LanguageModel? model;
    private Gradients? gradients;
    private Optimizer? optimizer;
    private Block x, y, gram, square;

    public override string Description => device.Description;

    public override bool Slow => true;

    public override void Prepare(string @case)
    {
        optimizer?.Dispose();
        optimizer = null;
        device.Pool.Trim();
        if (@case == "products")
        {
            (x, y, gram, square) = (Normal(768 * 3072), Normal(768 * 3072), Normal(768 * 768), Normal(768 * 768));
            return;
        }

        model ??= OurModel.Create(Recipe.Gpt2, device);
        gradients ??= GradientsOf(model, device);
        optimizer = Create(@case, model);
    }

    /// <summary>Operations of <c>products</c>.</summary>
    public static double ProductOperations => Layer.Sum(size =>
    {
        double small = Math.Min(size.Rows, size.Columns), large = Math.Max(size.Rows, size.Columns);
        return 2 * small * small * (2 * large + small);
    });

    /// <summary>Bytes and operations that a step takes by count, and the numbers of the model.</summary>
    public static (long Bytes, double Operations, long Parameters) Count(string @case)
    {
        using var counting = new CountingDevice();
        using LanguageModel dry = OurModel.Create(Recipe.Gpt2, counting);
        Gradients gradients = GradientsOf(dry, counting);
        using Optimizer optimizer = Create(@case, dry);
        if (optimizer is ILowRankOptimizer lowRank)
            lowRank.ComputesNoBases = true;
        optimizer.Step(gradients);
        counting.Clear();
        optimizer.Step(gradients);
        return (counting.Bytes, counting.Operations, dry.ParameterCount);
    }

    private static Gradients GradientsOf(LanguageModel model, Device device)
    {
        var gradients = new Gradients(device);
        foreach (Parameter parameter in model.Parameters)
            device.Random(gradients.Target(parameter, out _), RandomKind.Normal, 1e-3f, 1, 0);
        return gradients;
    }

    private static Optimizer Create(string @case, LanguageModel model)
    {
        string[] words = @case.Split('-');
        bool refreshes = words[^1] is "refresh" or "randomized";
        string name = @case == "gpt2" ? "adamw" : refreshes ? string.Join('-', words[..^1]) : @case;
        Optimizer made = OurModel.Optimizer(name, Recipe.Gpt2, model);
        if (made.States[0].Options is not LowRankOptions)
            return made;

        // The same groups with another gap: never a refresh after the first step, or one at each.
        (Parameter Parameter, OptimizerOptions Options)[] groups = [.. made.States.Select(state => (state.Parameter, state.Options))];
        made.Dispose();
        Optimizer optimizer = Registry.Find(name).Create(default);
        foreach ((Parameter parameter, OptimizerOptions options) in groups)
        {
            var o = (LowRankOptions)options;
            optimizer.Add(parameter, o with
            {
                UpdateProjectionGap = refreshes ? 1 : int.MaxValue,
                Basis = words[^1] == "randomized" ? ProjectionBasis.RandomizedSvd : o.Basis,
            });
        }

        return optimizer;
    }

    public override void Run()
    {
        if (optimizer is not null)
        {
            optimizer.Step(gradients!);
            return;
        }

        foreach ((int m, int n) in Layer)
        {
            int small = Math.Min(m, n);
            bool wide = m <= n;
            device.Gemm(wide ? new GemmArguments(x, x, gram, m, m, n) { TransposeB = true } : new GemmArguments(x, x, gram, n, n, m) { TransposeA = true });
            device.Gemm(new GemmArguments(gram, gram, square, small, small, small));
            device.Gemm(wide ? new GemmArguments(square, x, y, m, n, m) : new GemmArguments(x, square, y, m, n, n));
        }
    }

    private Block Normal(long length)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1e-2f, 1, 0);
        return block;
    }

    public override void Dispose() => device.Dispose();
}
