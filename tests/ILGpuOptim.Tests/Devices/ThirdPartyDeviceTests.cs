using ILGpuOptim.Compute;
using ILGpuOptim.Tests.Cli;
using ILGpuOptim.Tests.Training;
using ILGpuOptim.Training;
using ThirdParty;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Devices of an assembly that sees public members alone: <c>tests/ILGpuOptim.ThirdParty</c>.</summary>
public class ThirdPartyDeviceTests
{
    [Fact]
    public void NoInternalsAreVisibleToTheAssembly() => Assert.DoesNotContain(
        typeof(Device).Assembly.GetCustomAttributes(false).OfType<System.Runtime.CompilerServices.InternalsVisibleToAttribute>(),
        friend => friend.AssemblyName == typeof(TallyDevice).Assembly.GetName().Name);

    [Fact]
    public void ARegisteredWrapperTrainsWithTheBitsOfTheDeviceInside()
    {
        if (!Compute.Devices.Kinds.Contains("tally"))
            Compute.Devices.Register(TallyDevice.Kind);
        Assert.Contains(Compute.Devices.List(), info => info is { Name: "tally", Problem: null });
        Assert.Throws<DeviceException>(() => Compute.Devices.Open("tally:1"));
        using var folder = new TemporaryFolder();
        using var cpu = new CpuDevice(1);
        Train(folder["cpu"], cpu);
        using var tally = (TallyDevice)Compute.Devices.Open("tally", 1);
        Train(folder["tally"], tally);
        Assert.Equal(MetricLines.Losses(folder["cpu"]), MetricLines.Losses(folder["tally"]));
        Assert.Equal(Weights(folder["cpu"]), Weights(folder["tally"]));
        Assert.InRange(tally.Launches, 100, 100_000);
    }

    [Fact]
    public void TheToolFindsADeviceThatAStartupHookRegisters()
    {
        using var folder = new TemporaryFolder();
        var hook = ("DOTNET_STARTUP_HOOKS", typeof(TallyDevice).Assembly.Location);
        Assert.Contains("its launches counted", Tool.Run(hook, "devices", "--json").Output, StringComparison.Ordinal);
        Outcome trained = Tool.Run(hook, "train", "--preset", "tiny", "--steps", "2", "--device", "tally", "--out", folder["run"]);
        Assert.Equal((0, ""), (trained.Code, trained.Error));
        Assert.Equal(1, Tool.Run("train", "--preset", "tiny", "--steps", "2", "--device", "tally", "--out", folder["none"]).Code);
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("")]
    [InlineData("Mine")]
    [InlineData("mine:1")]
    public void NamesThatNobodyCouldTypeAreRefused(string name) =>
        Assert.Throws<ArgumentException>(() => Compute.Devices.Register(new DeviceKind(name, _ => new CpuDevice(1))));

    [Fact]
    public void ADeviceFromScratchMapsAndCopiesAsTheCpuDoes()
    {
        using var array = new ArrayDevice();
        using var cpu = new CpuDevice(1);
        Assert.Equal(Results(cpu), Results(array));
        Block block = array.Pool.Rent(4);
        Assert.Throws<NotSupportedException>(() => array.Random(block, RandomKind.Normal, 1, 1, 0));
        Assert.Throws<ArgumentException>(() => cpu.Fill(block, 1));
        array.Pool.Return(block);
        Assert.Throws<ObjectDisposedException>(() => array.Fill(block, 1));
    }

    /// <summary>Whole, per-column and scalar operands, an accumulating one, and a transposed copy.</summary>
    private static float[] Results(Device device)
    {
        const int Rows = 3, Columns = 5;
        Block x = device.Pool.Rent(Rows, Columns), bias = device.Pool.Rent(Columns), one = device.Pool.Rent(1), turned = device.Pool.Rent(Columns, Rows);
        device.Upload([.. Enumerable.Range(0, Rows * Columns).Select(i => i * 0.37f)], x);
        device.Upload([.. Enumerable.Range(0, Columns).Select(i => i - 1.5f)], bias);
        device.Fill(one, 0.25f);
        device.Map(new AddRule(), Rows, Columns, x, Operand.PerColumn(bias));
        device.Map(new AddRule(), Rows, Columns, x, Operand.Scalar(one));
        device.Map(new CopyRule(), 1, Rows * Columns, x, new Operand(x) { Accumulate = true });
        device.CopyStrided(x, 0, turned, 0, [new StridedAxis(Rows, Columns, 1), new StridedAxis(Columns, 1, Rows)]);
        var result = new float[Rows * Columns];
        device.Download(turned, result);
        return result;
    }

    private static void Train(string folder, Device device)
    {
        using TrainingRun run = TrainingRun.Begin(folder, new TrainingSettings
        {
            Steps = 6,
            Layers = 1,
            Heads = 2,
            HiddenSize = 16,
            Block = 8,
            Batch = 2,
            EvalInterval = 3,
            EvalBatches = 2,
            CheckpointInterval = 3,
            Optimizer = new() { Name = "adamw", LearningRate = 1e-3 },
        }, device);
        Assert.True(run.Train(CancellationToken.None));
    }

    private static byte[] Weights(string folder) => File.ReadAllBytes(Path.Combine(TrainingRun.Checkpoints(folder).Last().Path, "model.safetensors"));
}
