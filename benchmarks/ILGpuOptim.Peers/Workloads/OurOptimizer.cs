using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace PeerBenchmarks.Workloads;

/// <summary>
/// An optimizer of this project over the parameters of GPT-2 124M; the case names the optimizer. <c>NAME-refresh</c> renews the basis at every
/// step, <c>NAME-randomized</c> too, by the randomized method; <c>NAME-products</c> are the matrix products of a step alone, over operands outside the caches.
/// </summary>
internal sealed class OurOptimizer : Workload
{
    /// <summary>The end of the cases that are the products of a step alone.</summary>
    public const string ProductsAlone = "-products";

    /// <summary>Elements of the memory that operands of products are taken from in turn: 256 MB, more than a cache holds.</summary>
    private const int OperandElements = 1 << 26;

    /// <summary>What was counted: a comparison asks in each of its turns.</summary>
    private static readonly Dictionary<string, (long Bytes, double Operations, long Parameters, string Passes)> Counted = [];

    private readonly CpuDevice device = new(Threads);
    private LanguageModel? model;
    private Gradients? gradients;
    private Optimizer? optimizer;
    private GemmArguments[] products = [];
    private Block? memory;

    public override string Description => device.Description;

    public override bool Slow => true;

    public override void Prepare(string @case)
    {
        optimizer?.Dispose();
        optimizer = null;
        products = [];
        if (memory is { } operands)
            device.Pool.Return(operands);
        memory = null;
        device.Pool.Trim();
        if (@case.EndsWith(ProductsAlone, StringComparison.Ordinal))
        {
            products = Products(@case[..^ProductsAlone.Length]);
            return;
        }

        model ??= OurModel.Create(Recipe.Gpt2, device);
        gradients ??= GradientsOf(model, device);
        optimizer = Create(@case, model);
        Begin(optimizer);
    }

    /// <summary>The first step of SOAP computes eigenvectors on the host for minutes; it takes the identity instead, and later steps are as they are.</summary>
    private void Begin(Optimizer made)
    {
        if (made is not Soap)
            return;
        var bases = (IBasisOptimizer)made;
        bases.BasisSource = (state, _, axis) =>
        {
            int size = state.Parameter.Shape[axis];
            var identity = new float[size * size];
            for (int i = 0; i < size; i++)
                identity[i * size + i] = 1;
            return identity;
        };
        made.Step(gradients!);
        bases.BasisSource = null;
    }

    /// <summary>Bytes and operations that a step takes by count, the numbers of the model, and the step's passes over memory as the C program reads them.</summary>
    public static (long Bytes, double Operations, long Parameters, string Passes) Count(string @case)
    {
        if (Counted.TryGetValue(@case, out var count))
            return count;
        using var counting = new CountingDevice();
        long parameters = CountInto(counting, @case);
        return Counted[@case] = (counting.Bytes, ProductsOf(@case, counting).Sum(g => 2.0 * g.Batch * g.M * g.N * g.K), parameters,
            string.Join(',', counting.Passes.Select(pass => $"{pass.Key.Reads}.{pass.Key.Updates}.{pass.Key.Writes}:{pass.Value}")));
    }

    /// <summary>The products of a step: those that were counted; of a randomized refresh those of a real step, because matrices are factorised until they are orthonormal.</summary>
    private static List<GemmArguments> ProductsOf(string @case, CountingDevice counting)
    {
        if (!@case.EndsWith("-randomized", StringComparison.Ordinal))
            return counting.Products;
        using var recorder = new ProductRecorder(new CpuDevice(Threads));
        using LanguageModel model = OurModel.Create(Recipe.Gpt2, recorder);
        Gradients gradients = GradientsOf(model, recorder);
        using Optimizer optimizer = Create(@case, model);
        optimizer.Step(gradients);
        return recorder.Products;
    }

    private static long CountInto(CountingDevice counting, string @case)
    {
        using LanguageModel dry = OurModel.Create(Recipe.Gpt2, counting);
        Gradients gradients = GradientsOf(dry, counting);
        using Optimizer optimizer = Create(@case, dry);
        if (optimizer is ILowRankOptimizer lowRank)
            lowRank.ComputesNoBases = true;
        optimizer.Step(gradients);
        counting.Clear();
        optimizer.Step(gradients);
        return dry.ParameterCount;
    }

    /// <summary>The products of a step, with operands that follow each other in one large block.</summary>
    private GemmArguments[] Products(string @case)
    {
        using var counting = new CountingDevice();
        CountInto(counting, @case);
        Block block = device.Pool.Rent(OperandElements);
        device.Random(block, RandomKind.Normal, 1e-2f, 1, 0);
        memory = block;
        long used = 0;
        Block Next(Block like)
        {
            if (used + like.Length > OperandElements)
                used = 0;
            used += like.Length;
            return block.Slice(used - like.Length, like.Length);
        }

        return [.. ProductsOf(@case, counting).Select(product => product with { A = Next(product.A), B = Next(product.B), C = Next(product.C) })];
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
        if (made.States[0].Options is not (LowRankOptions or SoapOptions))
            return made;

        // The same groups with another gap: never a refresh after the first step, or one at each.
        (Parameter Parameter, OptimizerOptions Options)[] groups = [.. made.States.Select(state => (state.Parameter, state.Options))];
        made.Dispose();
        Optimizer optimizer = Registry.Find(name).Create(default);
        foreach ((Parameter parameter, OptimizerOptions options) in groups)
        {
            int gap = refreshes ? 1 : int.MaxValue;
            optimizer.Add(parameter, options switch
            {
                LowRankOptions o => o with { UpdateProjectionGap = gap, ProjectionBasis = words[^1] == "randomized" ? ProjectionBasis.RandomizedSvd : o.ProjectionBasis },
                SoapOptions o => o with { PreconditionFrequency = gap },
                _ => options,
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

        foreach (GemmArguments product in products)
            device.Gemm(product);
    }

    public override void Dispose() => device.Dispose();
}
