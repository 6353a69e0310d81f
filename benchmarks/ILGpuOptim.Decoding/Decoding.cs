using System.Diagnostics;
using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;

namespace DecodingBenchmark;

/// <summary>Greedy decoding by this project, as llama2.c's main loop does it: from the token 1, timed after the first.</summary>
internal static class Decoding
{
    public const int Threads = 2;

    /// <summary>Tokens a second, and the tokens.</summary>
    public static (double Speed, int[] Ids) Measure(string path, int steps)
    {
        using var device = new CpuDevice(Threads);
        using LanguageModel model = Llama2CFile.Import(path, device);
        var options = new SamplingOptions { Temperature = 0 };
        var generator = new TextGenerator(model, device);
        generator.Continue([1], Math.Min(48, steps), options).Count(); // compiles everything
        var ids = new int[steps];
        using GenerationBatch batch = generator.Start([[1]], steps, options);
        long start = 0;
        for (int i = 0; i < steps; i++)
        {
            batch.Advance();
            ids[i] = batch.Drawn[0].Id;
            if (i == 0)
                start = Stopwatch.GetTimestamp();
        }

        return ((steps - 1) / Stopwatch.GetElapsedTime(start).TotalSeconds, ids);
    }

    /// <summary>Bytes a second that this machine reads in a sum over 512 MB, and moves in a copy of 256 MB.</summary>
    public static (double Read, double Copy) Bandwidth()
    {
        using var device = new CpuDevice(Threads);
        const int Rows = 1 << 19, Columns = 256;
        Block many = device.Pool.Rent(Rows, Columns), one = device.Pool.Rent(Columns), sums = device.Pool.Rent(Rows);
        device.Fill(many, 1);
        device.Fill(one, 1);
        Block half = many.Slice(0, many.Length / 2), other = many.Slice(many.Length / 2, many.Length / 2);
        double read = Best(() => device.Gemm(new GemmArguments(one, many, sums, 1, Rows, Columns) { TransposeB = true }));
        return (4.0 * many.Length / read, 4.0 * many.Length / Best(() => device.Copy(half, other)));
    }

    private static double Best(Action action)
    {
        double best = double.PositiveInfinity;
        for (int i = 0; i < 10; i++)
        {
            long start = Stopwatch.GetTimestamp();
            action();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }
}
