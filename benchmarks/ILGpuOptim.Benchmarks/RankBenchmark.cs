using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Benchmarks;

/// <summary>
/// Steps of data-parallel training on the processor, each rank with one thread: their time with exchanges that overlap with computation and without, in turns
/// of several steps, after which all ranks wait for each other; and the bytes that all ranks send in a step. <c>ranks threads N</c>, or <c>ranks mpi</c> in processes that mpirun has started.
/// </summary>
internal static class RankBenchmark
{
    private const int Rounds = 12, Steps = 5, Shards = 4;

    public static int Run(string[] arguments)
    {
        if (arguments is ["threads", { } count] && int.TryParse(count, CultureInfo.InvariantCulture, out int ranks))
        {
            ThreadCommunicator.Run(ranks, Measure);
            return 0;
        }

        if (arguments is not ["mpi"])
        {
            Console.Error.WriteLine("usage: ranks threads N | ranks mpi");
            return 2;
        }

        using MpiCommunicator communicator = MpiCommunicator.Open();
        Measure(communicator);
        return 0;
    }

    private static void Measure(Communicator communicator)
    {
        if (communicator.Rank == 0)
            Console.WriteLine($"{communicator.Size} ranks, {communicator.GetType().Name}");
        foreach (GradientExchange exchange in Enum.GetValues<GradientExchange>())
            Measure(communicator, exchange);
    }

    private static void Measure(Communicator communicator, GradientExchange exchange)
    {
        var config = new Gpt2Config { VocabularySize = 4096, ContextLength = 64, HiddenSize = 384, Layers = 6, Heads = 6 };
        var settings = new TrainingSettings { Block = 64, Batch = 1, Shards = Shards, Steps = 1000, Warmup = 10, GradientExchange = exchange };
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using Dataset data = Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, 20000).Select(i => (int)((long)i * i % 4093))]), 4096, null, 0, "squares");
        using var trainer = new Trainer(device, model, data, settings, communicator);
        var times = new Dictionary<bool, List<double>> { [true] = [], [false] = [] };
        var waits = new Dictionary<bool, List<double>> { [true] = [], [false] = [] };
        for (int i = 0; i < 3; i++)
            trainer.Step();
        trainer.Settle();
        long before = communicator.BytesSent, steps = 0, barriers = 0;
        for (int round = 0; round < Rounds; round++)
        {
            foreach (bool overlaps in (bool[])[true, false])
            {
                trainer.Exchange?.Overlaps = overlaps;
                barriers += Wait(communicator);
                TimeSpan waited = trainer.Exchange?.Waited ?? TimeSpan.Zero;
                long began = Stopwatch.GetTimestamp();
                for (int i = 0; i < Steps; i++)
                    trainer.Step();
                trainer.Settle();
                barriers += Wait(communicator);
                times[overlaps].Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds / Steps);
                waits[overlaps].Add(((trainer.Exchange?.Waited ?? TimeSpan.Zero) - waited).TotalMilliseconds / Steps);
                steps += Steps;
            }
        }

        var bytes = new long[communicator.Size];
        bytes[communicator.Rank] = communicator.BytesSent - before - barriers;
        communicator.Share(bytes.AsSpan(), rank => rank);
        if (communicator.Rank != 0)
            return;
        long elements = model.ParameterCount, stored = model.Parameters.Sum(parameter => parameter.Bytes), size = communicator.Size;
        long predicted = ((size - 1) * (((exchange == GradientExchange.BF16 ? 2 : 4) * elements) + stored)) + (4 * size * BitOperations.Log2((uint)size) * (Shards + model.Parameters.Count));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{exchange}: {elements:N0} parameters, {bytes.Sum() / (double)steps:N0} bytes a step, {predicted:N0} by the formula"));
        foreach (bool overlaps in (bool[])[true, false])
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {(overlaps ? "overlapping" : "at the end ")}  step {Median(times[overlaps]):F1} ms, of which {Median(waits[overlaps]):F1} ms waiting in the first rank"));
    }

    /// <summary>Waits for all ranks; returns the bytes that this takes.</summary>
    private static long Wait(Communicator communicator)
    {
        long before = communicator.BytesSent;
        communicator.Barrier();
        return communicator.BytesSent - before;
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
