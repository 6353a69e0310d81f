using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

public class RotaryTests
{
    private static readonly LlamaConfig Config = new() { VocabularySize = 8, HiddenSize = 128, IntermediateSize = 8, Layers = 1, Heads = 1, RopeTheta = 500000 };

    [Theory]
    [InlineData(1, 1, 2, 128)]
    [InlineData(7, 3, 10, 128)]
    [InlineData(33, 2, 48, 256)]
    [InlineData(65, 5, 66, 512)]
    [InlineData(0, 2, 8, 512)]
    public void EveryWidthTurnsAsTheReferenceAndBack(int rows, int heads, int size, int vectorBits)
    {
        using var cpu = new CpuDevice(2, vectorBits);
        using var reference = new ReferenceDevice();
        int stride = heads * size + 3;
        float[] start = new float[rows * stride], actual = new float[start.Length], expected = new float[start.Length];
        foreach ((Device device, float[] result) in new (Device, float[])[] { (cpu, actual), (reference, expected) })
        {
            Block target = device.Pool.Rent(start.Length), angles = device.Pool.Rent(rows * size);
            for (int i = 0; i < start.Length; i++)
                start[i] = MathF.Sin(i);
            var turns = new float[rows * size];
            for (int i = 0; i < turns.Length; i++)
                turns[i] = i % size < size / 2 ? MathF.Cos(i) : MathF.Sin(i - size / 2);
            device.Upload(start, target);
            device.Upload(turns, angles);
            var rotation = new RotationArguments(target, angles) { Rows = rows, Heads = heads, HeadSize = size, Stride = stride };
            device.Rotate(rotation);
            device.Download(target, result);
            device.Rotate(rotation with { Inverse = true });
            var back = new float[start.Length];
            device.Download(target, back);
            Assert.All(back.Zip(start), pair => Assert.Equal(pair.Second, pair.First, 1e-6f));
        }

        Assert.All(actual.Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-6f));
    }

    /// <summary>Heads apart, of which only the first numbers turn: as each head alone, packed and whole.</summary>
    [Theory]
    [InlineData(128)]
    [InlineData(512)]
    [InlineData(0)]
    public void PartsOfHeadsThatLieApartTurnAsWholeHeads(int vectorBits)
    {
        const int Rows = 5, Heads = 3, HeadSize = 70, Size = 50, HeadStride = 75, Stride = 240;
        using Device device = vectorBits == 0 ? new ReferenceDevice() : new CpuDevice(2, vectorBits);
        Block target = device.Pool.Rent(Rows * Stride), angles = device.Pool.Rent(Rows * Size), alone = device.Pool.Rent(Rows * Size);
        float[] start = [.. Enumerable.Range(0, Rows * Stride).Select(i => MathF.Sin(i))], expected = [.. start];
        device.Upload(start, target);
        device.Upload([.. Enumerable.Range(0, Rows * Size).Select(i => MathF.Cos(3 * i))], angles);
        device.Rotate(new RotationArguments(target, angles) { Rows = Rows, Heads = Heads, HeadSize = HeadSize, RotatedSize = Size, HeadStride = HeadStride, Stride = Stride });
        float[] head = new float[Rows * Size], actual = new float[start.Length];
        for (int h = 0; h < Heads; h++)
        {
            for (int i = 0; i < head.Length; i++)
                head[i] = start[(i / Size * Stride) + (h * HeadStride) + (i % Size)];
            device.Upload(head, alone);
            device.Rotate(new RotationArguments(alone, angles) { Rows = Rows, Heads = 1, HeadSize = Size, Stride = Size });
            device.Download(alone, head);
            for (int i = 0; i < head.Length; i++)
                expected[(i / Size * Stride) + (h * HeadStride) + (i % Size)] = head[i];
        }

        device.Download(target, actual);
        Assert.Equal(expected, actual);
        Assert.NotEqual(start, actual);
    }

    [Fact]
    public void ATargetThatIsTooShortIsRefused()
    {
        using var device = new CpuDevice(1);
        Block block = device.Pool.Rent(8);
        Assert.Throws<ArgumentException>(() => device.Rotate(new RotationArguments(block, block) { Rows = 2, Heads = 2, HeadSize = 4, Stride = 8 }));
        Assert.Throws<ArgumentException>(() => device.Rotate(new RotationArguments(block, block) { Rows = 1, Heads = 1, HeadSize = 3, Stride = 8 }));
    }

    [Fact]
    public void AnOffsetContinuesTheSequence()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        float[] whole = Angles(Config, tape, [.. Enumerable.Range(0, 40)]);
        var angles = new RotaryAngles(Config.Describe().Blocks[0].Attention.Rotary!);
        for (int position = 0; position < 40; position += 13)
        {
            float[] one = new float[128];
            device.Download(angles.Rows(tape, [position]), one);
            Assert.Equal(whole[(position * 128)..((position + 1) * 128)], one);
        }
    }

    /// <summary>Llama 3.1: wavelengths below 8192/4 stay, those above 8192 are eight times as long, between them both are mixed.</summary>
    [Fact]
    public void LlamaThreeScalingStretchesLongWavesAlone()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        LlamaConfig scaled = Config with { RopeScaling = new RotaryScaling { Kind = "llama3", Factor = 8, LowFactor = 1, HighFactor = 4, OriginalPositions = 8192 } };
        float[] actual = Angles(scaled, tape, [1]);
        for (int i = 0; i < 64; i++)
        {
            double frequency = Math.Pow(500000, -i / 64.0), length = 2 * Math.PI / frequency;
            double smooth = (8192 / length - 1) / 3;
            double expected = length < 2048 ? frequency : length > 8192 ? frequency / 8 : (1 - smooth) * frequency / 8 + smooth * frequency;
            Assert.Equal(Math.Sin(expected), actual[64 + i], 2e-7 * expected + 1e-9);
        }
    }

    [Fact]
    public void LinearScalingDividesEveryFrequency()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        LlamaConfig scaled = Config with { RopeScaling = new RotaryScaling { OldKind = "linear", Factor = 4 } };
        float[] actual = Angles(scaled, tape, [8]), expected = Angles(Config, tape, [2]);
        Assert.All(actual.Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-6f));
    }

    [Theory]
    [InlineData("""{"rope_type":"ntk","factor":2}""", "ntk")]
    [InlineData("""{"type":"linear"}""", "factor")]
    [InlineData("""{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,"original_max_position_embeddings":8192}""", "low_freq_factor")]
    public void UnknownScalingIsOneClearError(string scaling, string named)
    {
        string text = With("rope_scaling", scaling);
        Assert.Contains(named, Assert.Throws<UserException>(() => ModelConfig.Parse(text, "config.json")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NewerFilesKeepTheBaseAmongTheParameters()
    {
        string text = With("rope_parameters", """{"rope_theta": 20000.0, "rope_type": "default"}""");
        Assert.Equal(20000, ((LlamaConfig)ModelConfig.Parse(text, "config.json")).Theta);
    }

    private static string With(string field, string value)
    {
        JsonNode config = JsonNode.Parse(Config.ToJson())!;
        config[field] = JsonNode.Parse(value);
        return config.ToJsonString();
    }

    private static float[] Angles(LlamaConfig config, Tape tape, int[] positions)
    {
        var result = new float[positions.Length * config.SizeOfHead];
        tape.Device.Download(new RotaryAngles(config.Describe().Blocks[0].Attention.Rotary!).Rows(tape, positions), result);
        return result;
    }
}
