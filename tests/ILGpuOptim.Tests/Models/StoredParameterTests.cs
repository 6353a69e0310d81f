using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>Parameters in files: copied in parts, as those are that have more than 2 GB, and read back to the same bytes.</summary>
public class StoredParameterTests
{
    public static TheoryData<DType, int, int> Storages => new(
        from type in (DType[])[DType.F32, DType.BF16, DType.I8, DType.Int4By32, DType.Int4By128]
        from shape in ((int, int)[])[(67, 131), (5, 256), (1, 1), (3, 300)]
        select (type, shape.Item1, shape.Item2));

    [Theory]
    [MemberData(nameof(Storages))]
    public void ParametersAreCopiedInParts(DType type, int rows, int columns)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        Parameter written = New(device, type, rows, columns), read = New(device, type, rows, columns);
        written.Load([.. Enumerable.Range(0, rows * columns).Select(i => MathF.Sin(i))]);
        Write(folder["whole"], written, StoredBytes.Part);
        Write(folder["parts"], written, part: 38);
        Assert.Equal(File.ReadAllBytes(folder["whole"]), File.ReadAllBytes(folder["parts"]));
        using (Safetensors file = SafetensorsFile.Open(folder["whole"]))
            StoredParameter.Load(file, "p", read, part: 50);
        Write(folder["again"], read, StoredBytes.Part);
        Assert.Equal(File.ReadAllBytes(folder["whole"]), File.ReadAllBytes(folder["again"]));
        Assert.Equal(written.ToArray(), read.ToArray());
    }

    /// <summary>Scales that a file lacks, or has in another type or number.</summary>
    [Theory]
    [InlineData("F32", 2, 1, "p.scales has 2 values of type F32, but")]
    [InlineData("F64", 3, 1, "p.scales has 3 values of type F64, but")]
    public void OtherScalesAreRefused(string scales, int rows, int blocks, string message)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using (var writer = new SafetensorsWriter(folder["other"], [("p", "I8", [3, 5]), ("p.scales", scales, [rows, blocks])]))
        {
            writer.Write("p", new byte[15]);
            writer.Write("p.scales", new byte[rows * blocks * (scales == "F64" ? 8 : 4)]);
            writer.Finish();
        }

        using Safetensors file = SafetensorsFile.Open(folder["other"]);
        Assert.Contains(message, Assert.Throws<SafetensorsException>(() => StoredParameter.Load(file, "p", New(device, DType.I8, 3, 5))).Message, StringComparison.Ordinal);
    }

    private static Parameter New(Device device, DType type, int rows, int columns) => new(device, "p", type, rows, columns);

    private static void Write(string path, Parameter parameter, int part)
    {
        using var writer = new SafetensorsWriter(path, StoredParameter.Tensors(parameter));
        StoredParameter.Write(writer, parameter, part);
        writer.Finish();
    }
}
