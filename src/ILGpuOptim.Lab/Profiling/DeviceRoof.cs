using System.Diagnostics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>What a device reaches at most, as measured: a kernel cannot take less time than its bytes, operations and launches do at these rates.</summary>
/// <param name="BytesPerSecond">Bytes read and written by a copy larger than the caches.</param>
/// <param name="OperationsPerSecond">Operations of a large square product.</param>
/// <param name="LaunchSeconds">The time of a launch that computes one element, waited for.</param>
internal sealed record DeviceRoof(double BytesPerSecond, double OperationsPerSecond, double LaunchSeconds)
{
    private const double Enough = 0.03;

    private const int Repetitions = 5, Group = 100;

    /// <summary>Measures a device in about a second. Sizes grow until a launch takes long enough to be timed.</summary>
    /// <param name="device">Any.</param>
    public static DeviceRoof Measure(Device device)
    {
        double launch = Best(device, 1, 1, blocks =>
        {
            for (int i = 0; i < Group; i++)
            {
                device.Map(new FillRule(1), 1, 1, blocks[0]);
                device.Synchronize();
            }
        }).Seconds / Group;
        (long length, double copy) = Best(device, 1 << 16, 1 << 26, blocks => device.Copy(blocks[0], blocks[1]));
        (long size, double product) = Best(device, 1 << 12, 1 << 22, blocks =>
        {
            int n = (int)Math.Sqrt(blocks[0].Length);
            device.Gemm(new GemmArguments(blocks[0], blocks[1], blocks[2], n, n, n));
        });
        return new DeviceRoof(2 * sizeof(float) * length / copy, 2 * Math.Pow(size, 1.5) / product, launch);
    }

    /// <summary>The least time of a number of launches.</summary>
    public double Seconds(LaunchCost cost, long launches) => Math.Max(launches * LaunchSeconds, Math.Max(cost.Bytes / BytesPerSecond, cost.Operations / OperationsPerSecond));

    /// <summary>Which of the three it is.</summary>
    public string Limit(LaunchCost cost, long launches) =>
        Seconds(cost, launches) is var seconds && seconds == cost.Bytes / BytesPerSecond ? "bytes" : seconds == cost.Operations / OperationsPerSecond ? "operations" : "launches";

    /// <summary>The shortest time of a run on blocks of a length that takes long enough, or of the greatest length.</summary>
    private static (long Length, double Seconds) Best(Device device, long length, long greatest, Action<Block[]> run)
    {
        for (; ; length *= 4)
        {
            Block[] blocks = [device.Pool.Rent(length), device.Pool.Rent(length), device.Pool.Rent(length)];
            foreach (Block block in blocks)
                device.Fill(block, 1);
            run(blocks);
            device.Synchronize();
            double best = double.PositiveInfinity;
            for (int i = 0; i < Repetitions && (i == 0 || best < 10 * Enough); i++)
            {
                long began = Stopwatch.GetTimestamp();
                run(blocks);
                device.Synchronize();
                best = Math.Min(best, Stopwatch.GetElapsedTime(began).TotalSeconds);
            }

            foreach (Block block in blocks)
                device.Pool.Return(block);
            device.Pool.Trim();
            if (best >= Enough || length >= greatest)
                return (length, best);
        }
    }
}
