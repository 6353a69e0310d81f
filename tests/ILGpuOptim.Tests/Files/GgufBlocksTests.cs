using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

/// <summary>Blocks against values that were worked out by hand from ggml's rules.</summary>
public class GgufBlocksTests
{
    [Fact]
    public void Q8_0RoundsHalvesAwayFromZero()
    {
        // The largest magnitude 127 makes the scale 1.
        float[] values = [127, -127, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 0.49f, .. new float[24]];
        Assert.Equal([0x00, 0x3C, 127, 0x81, 1, 0xFF, 2, 3, 0xFD, 0, .. new byte[24]], Encode(GgufType.Q8_0, values));
        Assert.Equal([127, -127, 1, -1, 2, 3, -3, 0, .. new float[24]], Decode(GgufType.Q8_0, values));
    }

    [Fact]
    public void Q4_0TakesTheSignOfTheLargestMagnitude()
    {
        // -8 makes the scale 1; +8 makes it -1, so that -8 is not a value any more and +8 is.
        float[] values = [-8, 7, 0.4f, .. new float[13], 1, -1, 6.6f, .. new float[13]];
        byte[] block = Encode(GgufType.Q4_0, values);
        Assert.Equal([0x00, 0x3C, 0x90, 0x7F, 0xF8], block[..5]);
        Assert.All(block[5..], value => Assert.Equal(0x88, value));
        Assert.Equal([-8, 7, 0, .. new float[13], 1, -1, 7, .. new float[13]], Decode(GgufType.Q4_0, values));
        Assert.Equal([8, -7, .. new float[30]], Decode(GgufType.Q4_0, [8, -8, .. new float[30]]));
    }

    [Theory]
    [InlineData(GgufType.Q8_0)]
    [InlineData(GgufType.Q4_0)]
    [InlineData(GgufType.F16)]
    [InlineData(GgufType.BF16)]
    public void ZerosStayZeros(GgufType type) => Assert.Equal(new float[64], Decode(type, new float[64]));

    [Fact]
    public void HalvesRoundToEven()
    {
        // 2049 lies between 2048 and 2050, 2051 between 2050 and 2052.
        Assert.Equal([2048, 2052, -2048, 65504], Decode(GgufType.F16, [2049, 2051, -2049, 65504]));
        Assert.Equal([256, 260], Decode(GgufType.BF16, [257, 259]));
    }

    [Theory]
    [InlineData(GgufType.F16, 70000)]
    [InlineData(GgufType.Q8_0, 1e7f)]
    [InlineData(GgufType.Q4_0, float.NaN)]
    public void ValuesThatATypeCannotHoldAreRefused(GgufType type, float value)
    {
        using var folder = new TemporaryFolder();
        using var writer = new GgufWriter(folder["a.gguf"], [], [new("weight", type, [1, 32])]);
        float[] values = new float[32];
        values[3] = value;
        Assert.Contains("weight", Assert.Throws<UserException>(() => writer.Write(values)).Message);
    }

    private static byte[] Encode(GgufType type, float[] values)
    {
        var bytes = new byte[GgufTypes.BytesOf(type, values.Length)];
        GgufBlocks.Encode(type, values, bytes);
        return bytes;
    }

    private static float[] Decode(GgufType type, float[] values)
    {
        var result = new float[values.Length];
        GgufBlocks.Decode(type, Encode(type, values), result);
        return result;
    }
}
