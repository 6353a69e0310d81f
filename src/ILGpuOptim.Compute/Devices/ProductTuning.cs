using System.Diagnostics;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

/// <summary>The measurement of one product.</summary>
/// <param name="Product">The size M × N × K, the batch, and the transposed factors.</param>
/// <param name="Rule">The plan of the cost model and its median time in microseconds.</param>
/// <param name="Best">The fastest plan and its time.</param>
public sealed record TunedProduct(string Product, (string Plan, double Microseconds) Rule, (string Plan, double Microseconds) Best);

/// <summary>
/// Measures the fastest plan for each product that a GPU has computed so far, and stores the results: devices opened later use the
/// nearest measured size. Another plan adds in another order, so results before and after differ in their last bits.
/// </summary>
public sealed class ProductTuning
{
    private const int Rounds = 5;
    private readonly GpuDevice device;
    private readonly List<(GpuGemmSize Size, GpuGemmPlan Plan)> measured = [];

    /// <summary>Tunes for the products that a device has computed so far.</summary>
    /// <exception cref="DeviceException">The device is not a GPU, so there is nothing to choose.</exception>
    public ProductTuning(Device device) =>
        this.device = device is GpuDevice { IsProcessor: false } gpu ? gpu : throw new DeviceException($"{device.Name}: {device.Description} has one way to compute a product; only GPUs can be tuned");

    /// <summary>The file that <see cref="Save"/> writes.</summary>
    public string Path => GpuGemmPlans.PathOf(device.Accelerator.Name);

    /// <summary>Measures the products one by one.</summary>
    public IEnumerable<TunedProduct> Measure() => Measure(device.Plans.Met);

    internal IEnumerable<TunedProduct> Measure(IEnumerable<GpuGemmSize> sizes)
    {
        foreach (GpuGemmSize size in sizes.Where(size => size is { M: > 0, N: > 0, K: > 0 }).ToArray())
        {
            DType type = size.Precision == Precision.BF16 ? DType.BF16 : DType.F32;
            Block a = Numbers((long)size.Batch * size.M * size.K, type), b = Numbers((long)size.Batch * size.K * size.N, type), c = Numbers((long)size.Batch * size.M * size.N, DType.F32);
            void Run() => device.Gemm(new GemmArguments(a, b, c, size.M, size.N, size.K)
            {
                TransposeA = size.TransposeA,
                TransposeB = size.TransposeB,
                Precision = size.Precision,
                Batch = size.Batch,
                BatchStrideA = (long)size.M * size.K,
                BatchStrideB = (long)size.K * size.N,
                BatchStrideC = (long)size.M * size.N,
            });
            GpuGemmPlan rule = device.Plans.For(size);
            GpuGemmPlan[] candidates = [rule, .. GpuGemmPlans.Candidates(size).Where(plan => plan != rule)];
            double[] times = Times(candidates, Run);
            int best = Array.IndexOf(times, times.Min());
            measured.Add((size, candidates[best]));
            device.Pool.Return(a);
            device.Pool.Return(b);
            device.Pool.Return(c);
            device.Pool.Trim();
            yield return new TunedProduct(
                $"{size.M} x {size.N} x {size.K}{(size.Batch > 1 ? $" times {size.Batch}" : "")} {size.Form}",
                (NameOf(rule), times[0]), (NameOf(candidates[best]), times[best]));
        }
    }

    /// <summary>Writes the table atomically.</summary>
    public void Save() => GpuGemmPlans.Write(Path, measured);

    private static string NameOf(GpuGemmPlan plan) => plan.Parts == 1 ? plan.Tile : $"{plan.Tile}, k in {plan.Parts}";

    /// <summary>Median microseconds of each plan. Plans are interleaved, so that clock changes affect all alike.</summary>
    private double[] Times(GpuGemmPlan[] plans, Action run)
    {
        var times = new double[plans.Length][];
        int repeat = 1;
        for (int i = 0; i < plans.Length; i++)
        {
            device.Plans.Forced = plans[i];
            run();
            device.Synchronize();
            double once = Time(run, 1);
            repeat = i == 0 ? Math.Clamp((int)(1000 / once), 1, 20) : repeat;
            times[i] = new double[Rounds];
        }

        for (int round = 0; round < Rounds; round++)
        {
            for (int i = 0; i < plans.Length; i++)
            {
                device.Plans.Forced = plans[i];
                times[i][round] = Time(run, repeat);
            }
        }

        device.Plans.Forced = null;
        return [.. times.Select(of => of.Order().ElementAt(Rounds / 2))];
    }

    private double Time(Action run, int repeat)
    {
        long began = Stopwatch.GetTimestamp();
        for (int i = 0; i < repeat; i++)
            run();
        device.Synchronize();
        return Stopwatch.GetElapsedTime(began).TotalMicroseconds / repeat;
    }

    private Block Numbers(long length, DType type)
    {
        Block floats = device.Pool.Rent(length);
        device.Random(floats, RandomKind.Normal, 1, 1, 0);
        if (type == DType.F32)
            return floats;
        Block narrow = device.Pool.Rent(length, type);
        device.Copy(floats, narrow);
        device.Pool.Return(floats);
        return narrow;
    }
}
