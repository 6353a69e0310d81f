using System.Runtime.CompilerServices;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Cli;

namespace ILGpuOptim.Tests.Lab;

public sealed class ProfilingDeviceTests
{
    private const int Rows = 6, Columns = 20;

    private const long Matrix = Rows * Columns;

    [Fact]
    public void BytesAndOperationsOfKnownLaunchesAreExact()
    {
        using var device = new ProfilingDevice(new CpuDevice(1));
        Block a = device.Pool.Rent(Matrix), b = device.Pool.Rent(Matrix), row = device.Pool.Rent(Rows), column = device.Pool.Rent(Columns), half = device.Pool.Rent(Matrix, DType.BF16);
        Block indices = device.Pool.Rent(Rows, DType.I32), ranges = device.Pool.Rent(2 * Rows, DType.I32);
        foreach (Block block in new[] { a, b, row, column })
            device.Fill(block, 1);
        device.Upload([0, 1, 2, 3, 4, 5], indices);
        device.Upload([0, 2, 0, 2, 2, 6, 2, 6, 2, 6, 2, 6], ranges);

        // Reads a, updates b: an Fma and a Sqrt.
        Costs(() => device.Map(new Step(), Rows, Columns, a, b), 4 * 3 * Matrix, 3 * Matrix);
        Costs(() => device.Map(new Step(), Rows, Columns, a, half), (4 + 2 * 2) * Matrix, 3 * Matrix);

        // A product, and the addition to the sum of the column or the row.
        Costs(() => device.Map(new Squares(), Rows, Columns, a, Operand.PerColumn(column)), 4 * (Matrix + Columns), 2 * Matrix);
        Costs(() => device.Map(new Squares(), Rows, Columns, a, Operand.PerRow(row)), 4 * (Matrix + Rows), 2 * Matrix);

        // x - Σx / n: an addition for the sum and a subtraction for each element, a product for each row.
        Costs(() => device.RowProgram(new Centre(), Rows, Columns, [new Operand(a)]), 4 * 2 * Matrix, 2 * Matrix + Rows);

        // 6 × 20 · (20 × 5) into 6 × 5, whose old values are read, and an epilogue that adds a row.
        var product = new GemmArguments(a, b, device.Pool.Rent(30), Rows, 5, Columns) { Beta = 1 };
        Costs(() => device.Gemm(product), 4 * (120 + 100 + 60), 2 * 600);
        Costs(() => device.Gemm(product, new Plus(), Operand.PerColumn(column)), 4 * (120 + 100 + 60 + 5), 2 * 600 + 30);

        // Six queries of a head of 20, each with the keys up to its own within its document: 1 + 2 + 1 + 2 + 3 + 4 pairs. Two products, and 26 operations of Exp.
        var attention = new AttentionArguments(a, a, a, b)
        {
            Batch = 1,
            Heads = 1,
            KeyHeads = 1,
            HeadSize = Columns,
            QueryLength = Rows,
            KeyLength = Rows,
            QueryStride = Columns,
            KeyStride = Columns,
            OutputStride = Columns,
            Causal = true,
            Scale = 1,
            Ranges = ranges,
        };
        Costs(() => device.AttentionForward(attention), 4 * (4 * Matrix + 2 * Rows), 13 * (2 * 2 * Columns + 26));
        Costs(() => device.Gather(a, indices, b, Columns, false), 4 * (Rows + 2 * Matrix), 0);
        Costs(() => device.ScatterAdd(a, indices, b, Columns), 4 * (Rows + 3 * Matrix), Matrix);
        Costs(() => device.AttentionForward(attention with { Query = half, Key = half, Value = half, Output = half }), 2 * 4 * Matrix + 4 * 2 * Rows, 13 * (2 * 2 * Columns + 26));
        Costs(() => device.Gather(half, indices, half, Columns, true), 4 * Rows + 2 * 3 * Matrix, Matrix);
        Costs(() => device.ScatterAdd(half, indices, b, Columns), 4 * (Rows + 2 * Matrix) + 2 * Matrix, Matrix);
        Costs(() => device.Fill(half, 1), 2 * Matrix, 0);
        Costs(() => device.Copy(a, half), (4 + 2) * Matrix, 0);
        Costs(() => device.Random(a, RandomKind.Normal, 1, 1, 0), 4 * Matrix, 0);

        void Costs(Action launch, long bytes, double operations)
        {
            device.Clear();
            launch();
            (DeviceCall call, ProfilingDevice.Entry entry) = Assert.Single(device.Entries, entry => ProfilingDevice.IsLaunch(entry.Key.Operation)); // the check of ranges reads them
            Assert.Equal((1, bytes, operations), (entry.Launches, entry.Cost.Bytes, entry.Cost.Operations));
            Assert.True(entry.Shortest >= 0 && entry.Shortest == entry.Seconds, $"{call}");
        }
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("reference")]
    public void EveryLaunchOfAStepIsInTheProfile(string kind)
    {
        var counting = new Counting(Compute.Devices.Open(kind));
        using var device = new ProfilingDevice(counting);
        var config = new LlamaConfig { VocabularySize = 17, HiddenSize = 32, IntermediateSize = 48, Layers = 2, Heads = 2 };
        using LanguageModel model = config.Create(new Initializer(device, 1));
        using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = "came" }, [.. model.Parameters], out _);
        using var tape = new Tape(device);
        int[] tokens = [.. Enumerable.Range(0, 16).Select(i => i % 17)];
        device.Clear();
        counting.Calls.Clear();
        tape.Backward(model.Loss(tape, tokens, tokens, 2));
        optimizer.Step(tape.Gradients);
        Assert.True(counting.Calls.Count > 30, $"{counting.Calls.Count} shapes");
        Assert.Equal(counting.Calls.OrderBy(entry => $"{entry.Key}"), device.Entries.Select(entry => KeyValuePair.Create(entry.Key, entry.Value.Launches)).OrderBy(entry => $"{entry.Key}"));
        StepProfile profile = StepProfile.Of(new DeviceRoof(1e9, 1e9, 1e-9), device, 1);
        Assert.Equal(counting.Calls.Values.Sum(), profile.Rows.Sum(row => row.Launches));
        Assert.Equal(1, profile.Rows.Sum(row => row.Share), 1e-9);
        Assert.All(profile.Rows, row => Assert.True(row.Seconds == 0 || row.Limit is null == (row.Cost.Bytes == 0), $"{row}"));
        Assert.Equal(profile.Rows.Select(row => row.Seconds).OrderDescending(), profile.Rows.Select(row => row.Seconds));
    }

    [Fact]
    public void TheRoofIsTheLargestOfThreeTimes()
    {
        var roof = new DeviceRoof(100, 1000, 0.5);
        Assert.Equal((2, "bytes"), (roof.Seconds(new(200, 1000), 1), roof.Limit(new(200, 1000), 1)));
        Assert.Equal((3, "operations"), (roof.Seconds(new(200, 3000), 1), roof.Limit(new(200, 3000), 1)));
        Assert.Equal((4, "launches"), (roof.Seconds(new(200, 3000), 8), roof.Limit(new(200, 3000), 8)));
        Assert.True(new ProfileRow("", "", 1, 1, default, 0.011, 0.49, "bytes").IsSlow);
        Assert.False(new ProfileRow("", "", 1, 1, default, 0.009, 0.49, "bytes").IsSlow);
        Assert.False(new ProfileRow("", "", 1, 1, default, 0.011, 0.51, "bytes").IsSlow);
        Assert.False(new ProfileRow("", "", 1, 1, default, 0.5, null, null).IsSlow);
    }

    [Fact]
    public void TheTraceHasEveryCallInOrder()
    {
        using var device = new ProfilingDevice(new CpuDevice(1));
        Block a = device.Pool.Rent(Matrix), b = device.Pool.Rent(Matrix);
        device.Upload(new float[Matrix], a);
        device.Map(new Step(), Rows, Columns, a, b);
        device.Fill(a, 1);
        using var bytes = new MemoryStream();
        KernelTrace.Write(bytes, device.Calls);
        JsonElement[] events = [.. JsonDocument.Parse(bytes.ToArray()).RootElement.GetProperty("traceEvents").EnumerateArray().Where(item => item.GetProperty("ph").GetString() == "X")];
        Assert.Equal(["transfer", "launch", "launch"], events.Select(item => item.GetProperty("cat").GetString()));
        Assert.StartsWith("Map Lift2<Step", events[1].GetProperty("name").GetString(), StringComparison.Ordinal);
        Assert.Equal("6 x 20", events[1].GetProperty("args").GetProperty("shape").GetString());
        Assert.Equal(4 * 3 * Matrix, events[1].GetProperty("args").GetProperty("bytes").GetInt64());
        Assert.Equal(0, events[0].GetProperty("ts").GetDouble());
        Assert.All(events.Zip(events.Skip(1)), pair => Assert.True(pair.First.GetProperty("ts").GetDouble() + pair.First.GetProperty("dur").GetDouble() <= pair.Second.GetProperty("ts").GetDouble()));
    }

    [Fact]
    public void TheCommandPrintsEachKernelAndRefusesFlagsOfRuns()
    {
        Outcome outcome = Tool.Run("profile", "--preset", "tiny", "--measured-steps", "1", "--json");
        Assert.True(outcome.Code == 0, outcome.Error);
        string[] lines = outcome.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains("\"step_seconds\":", lines[0]);
        Assert.Contains(lines, line => line.Contains("\"name\":\"AttentionBackward\"", StringComparison.Ordinal) && line.Contains("\"launches\":2", StringComparison.Ordinal));
        Assert.DoesNotContain(lines, line => line.Contains("\"name\":\"Random\"", StringComparison.Ordinal)); // initialisation is not part of a step
        Outcome refused = Tool.Run("profile", "--preset", "tiny", "--out", "run");
        Assert.Equal((1, "error: --out: profile measures steps of a new model and writes no run; leave it out"), (refused.Code, refused.Error.Trim()));
    }

    private sealed class Counting(Device inner) : DelegatingDevice(inner)
    {
        public Dictionary<DeviceCall, long> Calls { get; } = [];

        protected override void OnCalling(in DeviceCall call)
        {
            if (call.Operation != DeviceOperation.Synchronize)
                Calls[call] = Calls.GetValueOrDefault(call) + 1;
        }
    }

    private readonly struct Step : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = L.Sqrt(L.Fma(a, a, b));
    }

    private readonly struct Squares : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = a * a;
    }

    private readonly struct Plus : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a += b;
    }

    private readonly struct Centre : IRowRule
    {
        public static Access Access => Access.Of(Slot.Update);

        public static bool FirstIsMax => false;

        public static bool HasSecond => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => a;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total * L.Splat(1f / Columns);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => L.Splat(0);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L first, L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> => a -= first;
    }
}
