using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public sealed class SafetensorsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Write(byte[] bytes)
    {
        string path = folder["file.safetensors"];
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static byte[] Bits<T>(params T[] values) where T : unmanaged => MemoryMarshal.AsBytes<T>(values).ToArray();

    [Fact]
    public void ConvertsF16Exactly()
    {
        // 1, -2, largest, smallest normal, smallest denormal, -0, ∞, -∞, NaN
        ushort[] bits = [0x3C00, 0xC000, 0x7BFF, 0x0400, 0x0001, 0x8000, 0x7C00, 0xFC00, 0x7E01];
        float[] expected = [1, -2, 65504, 6.103515625e-5f, 5.960464477539063e-8f, -0f, float.PositiveInfinity, float.NegativeInfinity, float.NaN];
        Check("F16", Bits(bits), expected);
    }

    [Fact]
    public void ConvertsBF16Exactly()
    {
        ushort[] bits = [0x3F80, 0xC000, 0x7F7F, 0x0080, 0x0001, 0x8000, 0x7F80, 0xFF80, 0x7FC1, 0x3EAB];
        float[] expected = [1, -2, 3.3895314e38f, 1.1754944e-38f, 9.18355e-41f, -0f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, 0.333984375f];
        Check("BF16", Bits(bits), expected);
    }

    [Fact]
    public void ConvertsF64ToTheNearest()
    {
        double[] values = [1 + 1e-9, 1e300, -1e300, 1e-300, double.NaN, 1.00000005960464477539, 1.00000017881393432617, -0.0];
        float[] expected = [1, float.PositiveInfinity, float.NegativeInfinity, 0, float.NaN, 1, 1.00000023841858f, -0f];
        Check("F64", Bits(values), expected);
    }

    [Fact]
    public void KeepsF32BitForBit()
    {
        uint[] bits = [0x3F800000, 0x00000001, 0x80000000, 0x7F800000, 0x7FC00123, 0xFFFFFFFF];
        using var file = SafetensorsFile.Open(Write(SafetensorsBytes.One("F32", "2,3", Bits(bits))));
        var target = new float[6];
        file.ReadF32("x", target);
        Assert.Equal(bits, target.Select(BitConverter.SingleToUInt32Bits));
    }

    private void Check(string type, byte[] data, float[] expected)
    {
        using var file = SafetensorsFile.Open(Write(SafetensorsBytes.One(type, $"{expected.Length}", data)));
        float[] actual = file.ReadF32("x");
        Assert.Equal(expected.Select(value => float.IsNaN(value) ? 0x7FC00000 : BitConverter.SingleToUInt32Bits(value)),
            actual.Select(value => float.IsNaN(value) ? 0x7FC00000 : BitConverter.SingleToUInt32Bits(value)));
        Assert.Equal(data, file.ReadBytes("x"));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(31)]
    [InlineData(33)]
    [InlineData(4097)]
    public void ConvertsEverySize(int length)
    {
        ushort[] bits = [.. Enumerable.Range(0, length).Select(i => (ushort)(0x3C00 + i % 1024))];
        using (var file = SafetensorsFile.Open(Write(SafetensorsBytes.One("F16", $"{length}", Bits(bits)))))
            Assert.Equal(bits.Select(value => (float)BitConverter.UInt16BitsToHalf(value)), file.ReadF32("x"));
        using (var file = SafetensorsFile.Open(Write(SafetensorsBytes.One("BF16", $"{length}", Bits(bits)))))
            Assert.Equal(bits.Select(value => BitConverter.UInt32BitsToSingle((uint)value << 16)), file.ReadF32("x"));
    }

    [Fact]
    public void ReadsEveryIntegerType()
    {
        Integers("I8", Bits<sbyte>(-128, 127), -128, 127);
        Integers("U8", Bits<byte>(0, 255), 0, 255);
        Integers("BOOL", Bits<byte>(0, 1), 0, 1);
        Integers("I16", Bits<short>(-32768, 32767), -32768, 32767);
        Integers("U16", Bits<ushort>(0, 65535), 0, 65535);
        Integers("I32", Bits(int.MinValue, int.MaxValue), int.MinValue, int.MaxValue);
        Integers("U32", Bits(0u, (uint)int.MaxValue), 0, int.MaxValue);
        Integers("I64", Bits((long)int.MinValue, int.MaxValue), int.MinValue, int.MaxValue);
        Integers("U64", Bits(0ul, (ulong)int.MaxValue), 0, int.MaxValue);
        Refuses("U32", Bits(uint.MaxValue), "x holds 4294967295 at 0");
        Refuses("I64", Bits(0L, 2147483648L), "x holds 2147483648 at 1");
        Refuses("U64", Bits(ulong.MaxValue), "x holds 18446744073709551615 at 0");
        Refuses("F32", Bits(1f), "x holds F32, not integers");
        Refuses("F32", Bits<float>(), "x holds F32, not integers");
    }

    private void Integers(string type, byte[] data, params int[] expected)
    {
        using var file = SafetensorsFile.Open(Write(SafetensorsBytes.One(type, $"{expected.Length}", data)));
        Assert.Equal(expected, file.ReadI32("x"));
        Assert.Contains("does not convert to f32", Assert.Throws<SafetensorsException>(() => file.ReadF32("x")).Message);
    }

    private void Refuses(string type, byte[] data, string message)
    {
        using var file = SafetensorsFile.Open(Write(SafetensorsBytes.One(type, $"{data.Length * 8L / SafetensorsEntry.BitsOf(type)}", data)));
        Assert.Contains(message, Assert.Throws<SafetensorsException>(() => file.ReadI32("x")).Message);
    }

    [Theory]
    [InlineData("F8_E4M3", 8)]
    [InlineData("F8_E5M2", 8)]
    [InlineData("F8_E8M0", 8)]
    [InlineData("F6_E2M3", 6)]
    [InlineData("F4", 4)]
    [InlineData("C64", 64)]
    public void GivesTheBytesOfTypesThatItDoesNotConvert(string type, int bits)
    {
        using var file = SafetensorsFile.Open(Write(SafetensorsBytes.One(type, "4", new byte[bits / 2])));
        Assert.Equal(bits / 2, file.ReadBytes("x").Length);
        Assert.Equal(4, file["x"].Length);
    }

    [Fact]
    public void ReadsScalarsAndEmptyTensors()
    {
        byte[] bytes = SafetensorsBytes.Make("""{"none":{"dtype":"F32","shape":[3,0,2],"data_offsets":[0,0]},"__metadata__":{"a":"ä"},"one":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   """, Bits(2.5f));
        using var file = SafetensorsFile.Open(Write(bytes));
        Assert.Equal([2.5f], file.ReadF32("one"));
        Assert.Empty(file["one"].Shape);
        Assert.Empty(file.ReadF32("none"));
        Assert.Equal(0, file["none"].Length);
        Assert.Equal("ä", file.Metadata["a"]);
        Assert.Equal(2, file.Tensors.Count);
    }

    [Fact]
    public void NoTensorsAtAllIsAFile()
    {
        using var file = SafetensorsFile.Open(Write(SafetensorsBytes.Make("{}")));
        Assert.Empty(file.Tensors);
        Assert.Empty(file.Metadata);
    }

    [Fact]
    public void ErrorsNameTheFileAndTheRemedy()
    {
        string missing = folder["missing.safetensors"];
        Expect(() => SafetensorsFile.Open(missing), missing, "no such file", "check the path");
        Expect(() => Safetensors.Open(folder.Path), folder.Path, "neither model.safetensors nor model.safetensors.index.json");
        Expect(() => SafetensorsFile.Open(""), "cannot be read");
        Expect(() => SafetensorsFile.Open("a\0b"), "check the path");
        string path = Write(SafetensorsBytes.One("F32", "1", Bits(1f)));
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Expect(() => file.ReadF32("y"), path, "no tensor y among its 1");
        Expect(() => file.ReadF32("x", new float[2]), path, "x has 1 elements (1), but 2 are expected");
        file.Dispose();
        Assert.Throws<ObjectDisposedException>(() => file.ReadF32("x"));
        file.Dispose();
    }

    private static void Expect(Action action, params string[] parts)
    {
        string message = Assert.Throws<SafetensorsException>(action).Message;
        Assert.All(parts, part => Assert.Contains(part, message));
    }

    /// <summary>The file has a hole, so that it takes no room.</summary>
    [Fact]
    public void FilesBeyondFourGigabytesAreRead()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs files with holes");
        const long Large = (1L << 32) + 4;
        string header = $"{{\"large\":{{\"dtype\":\"U8\",\"shape\":[{Large}],\"data_offsets\":[0,{Large}]}},\"x\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{Large},{Large + 4}]}}}}";
        string path = Write(SafetensorsBytes.Make(header));
        using (FileStream stream = File.OpenWrite(path))
        {
            stream.SetLength(stream.Length + Large + 4);
            stream.Position = stream.Length - 4;
            stream.Write(Bits(2.5f));
        }

        using var file = SafetensorsFile.Open(path);
        Assert.Equal([2.5f], file.ReadF32("x"));
        Assert.Contains("4,294,967,300 bytes, more than can be read at once", Assert.Throws<SafetensorsException>(() => file.ReadBytes("large").Length).Message);
        Assert.Contains("more than fit into an array", Assert.Throws<SafetensorsException>(() => file.ReadI32("large")).Message);
    }

    [Fact]
    public void OpensTheRecordedModels()
    {
        foreach (string model in new[] { "gpt2-tiny", "llama-tiny", "bert-tiny" })
        {
            using var weights = Safetensors.Open(Goldens.Folder("models", model));
            Assert.All(weights.Tensors, pair => Assert.All(weights.ReadF32(pair.Key), value => Assert.True(float.IsFinite(value))));
            using var expected = SafetensorsFile.Open(Goldens.Folder("models", model, "expected.safetensors"));
            Assert.Equal(10, expected.ReadF32("losses").Length);
        }
    }
}
