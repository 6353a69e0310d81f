using System.Numerics;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>Exchanges of parameters of any size, in messages that end anywhere in them, whose values become ready in any order.</summary>
public class ExchangePipelineTests
{
    private const int Steps = 20;

    /// <summary>Parameters of 2 × these bytes. Messages have 12, so some end within a parameter.</summary>
    private static readonly int[] Lengths = [0, 1, 5, 17, 0, 3, 40, 1, 1, 9, 0];

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(2, 30)]
    [InlineData(4, 0)]
    [InlineData(4, 30)]
    [InlineData(8, 14)]
    [InlineData(8, 1000)]
    public void OwnersGetTheSumsInAnyOrder(int size, int bucketBytes) => ThreadCommunicator.Run(size, ranks =>
    {
        using var device = new CpuDevice(1);
        Parameter[] parameters = [.. Lengths.Select((length, i) => new Parameter(device, $"p{i}", Math.Max(1, length)))];
        var own = new Random(ranks.Rank);
        var common = new Random(size);
        var values = new Values(parameters);
        ExchangeLevel[] levels = [.. Enumerable.Range(0, BitOperations.Log2((uint)size)).Select(level => new ExchangeLevel(ranks, ranks.Rank ^ (1 << level), 12))];
        var pipeline = new ExchangePipeline(levels, values, parameters, bucketBytes,
            (parameter, level) => (Difference(parameter) & ((1 << level) - 1)) == 0 && (Difference(parameter) & (1 << level)) != 0,
            (parameter, level) => (Difference(parameter) & ((2 << level) - 1)) == 0);
        for (int step = 0; step < Steps; step++)
        {
            Assert.True(pipeline.IsIdle);
            foreach (Parameter parameter in parameters)
            {
                values.Present[parameter] = common.Next(4) > 0;
                own.NextBytes(values.Bytes[parameter]);
            }

            byte[][] mine = [.. parameters.Select(parameter => values.Bytes[parameter].ToArray())];

            // Each rank completes others, in its own order; some at the end.
            Parameter[] order = [.. parameters];
            own.Shuffle(order);
            foreach (Parameter parameter in order.Take(own.Next(order.Length + 1)))
            {
                pipeline.Complete(parameter);
                Assert.True(pipeline.IsComplete(parameter));
                pipeline.Advance();
            }

            pipeline.Finish();
            foreach ((int i, Parameter parameter) in parameters.Index())
            {
                byte[] sum = new byte[mine[i].Length];
                for (int rank = 0; rank < size; rank++)
                {
                    byte[] other = rank == ranks.Rank ? [.. mine[i]] : new byte[sum.Length];
                    Share(ranks, other, rank);
                    for (int j = 0; j < sum.Length; j++)
                        sum[j] += other[j];
                }

                if (values.Present[parameter] && Owner(parameter) == ranks.Rank)
                    Assert.Equal(sum, values.Bytes[parameter]);
                if (!values.Present[parameter])
                    Assert.Equal(mine[i], values.Bytes[parameter]);
            }
        }

        int Owner(Parameter parameter) => Array.IndexOf(parameters, parameter) * 5 % size;

        int Difference(Parameter parameter) => ranks.Rank ^ Owner(parameter);
    }, TimeSpan.FromSeconds(60));

    private static void Share(Communicator ranks, byte[] bytes, int from) => ranks.Share(bytes.AsSpan(), _ => from);

    /// <summary>Bytes that are added when they arrive.</summary>
    private sealed class Values(Parameter[] parameters) : IExchangedValues
    {
        public Dictionary<Parameter, byte[]> Bytes { get; } = parameters.Zip(Lengths).ToDictionary(item => item.First, item => new byte[2 * item.Second]);

        public Dictionary<Parameter, bool> Present { get; } = [];

        public bool Has(Parameter parameter) => Present[parameter];

        public long BytesOf(Parameter parameter) => Bytes[parameter].Length;

        public void Load(Parameter parameter, long start, Span<byte> bytes) => Bytes[parameter].AsSpan((int)start, bytes.Length).CopyTo(bytes);

        public void Store(Parameter parameter, long start, ReadOnlySpan<byte> bytes)
        {
            for (int i = 0; i < bytes.Length; i++)
                Bytes[parameter][start + i] += bytes[i];
        }
    }
}
