using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Attention on a tape: layouts that mean the same, and what is refused. Gradients are in <see cref="GradientTests"/>.</summary>
public class AttentionOpTests
{
    private const int Batch = 2, Length = 70, Heads = 4, Size = 8, Width = Heads * Size, Rows = Batch * Length;

    private static readonly AttentionSettings Settings = new() { Heads = Heads, Causal = true, KeysBefore = 20, SoftCap = 3 };

    /// <summary>Both packed orders and separate tensors hold the same numbers, so results and gradients are the same bits.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EveryLayoutGivesTheSameBits(bool rotates)
    {
        using var device = new CpuDevice(2);
        float[] packed = new float[Rows * 3 * Width], angles = [.. Enumerable.Range(0, Rows * 4).Select(i => MathF.Sin(i))];
        for (int i = 0; i < packed.Length; i++)
            packed[i] = MathF.Sin(1.7f * i);
        float At(int row, int part, int column) => packed[(row * 3 * Width) + (part * Width) + column];
        Parameter sections = Filled(device, Rows, 3 * Width, (row, column) => At(row, column / Width, column % Width));
        Parameter byHeads = Filled(device, Rows, 3 * Width, (row, column) => At(row, column / Size % 3, (column / (3 * Size) * Size) + (column % Size)));
        Parameter[] apart = [.. Enumerable.Range(0, 3).Select(part => Filled(device, Rows, Width, (row, column) => At(row, part, column)))];
        var results = new List<float[]>();
        var tape = new Tape(device);
        for (int layout = 0; layout < 3; layout++)
        {
            AttentionSettings settings = rotates ? Settings with { Angles = tape.Values(angles), RotatedSize = 4 } : Settings;
            Tensor output = layout switch
            {
                0 => tape.SelfAttention(sections, Batch, settings),
                1 => tape.SelfAttention(byHeads, Batch, settings with { Order = PackedOrder.Heads }),
                _ => tape.Attention(apart[0], apart[1], apart[2], Batch, settings),
            };
            results.Add(output.ToArray());
            Backward(tape, output);
        }

        Assert.Equal(results[0], results[1]);
        Assert.Equal(results[0], results[2]);
        float[] first = Gradient(tape, sections), second = Gradient(tape, byHeads);
        float[][] third = [.. apart.Select(part => Gradient(tape, part))];
        for (int i = 0; i < first.Length; i++)
        {
            int row = i / (3 * Width), part = i % (3 * Width) / Width, column = i % Width;
            Assert.Equal(first[i], second[(row * 3 * Width) + (column / Size * 3 * Size) + (part * Size) + (column % Size)]);
            Assert.Equal(first[i], third[part][(row * Width) + column]);
        }
    }

    [Fact]
    public void OnlyWhatRequiresAGradientGetsOneAndEverythingIsGivenBack()
    {
        using var device = new CpuDevice(1);
        Parameter[] inputs = [.. Enumerable.Range(0, 3).Select(_ => Filled(device, 6, 8, (row, column) => MathF.Cos(row + (3 * column))))];
        Parameter bias = Filled(device, 5, 2, (row, column) => row - column);
        inputs[1].IsFrozen = true;
        long before = device.Pool.UsedBytes;
        var tape = new Tape(device);
        Backward(tape, tape.Attention(inputs[0], inputs[1], inputs[2], 2, new AttentionSettings { Heads = 2, DistanceBias = bias }));
        Assert.False(tape.Gradients.Has(inputs[1]));
        float[] once = Gradient(tape, bias), query = Gradient(tape, inputs[0]);
        inputs[0].IsFrozen = inputs[2].IsFrozen = true;
        Backward(tape, tape.Attention(inputs[0], inputs[1], inputs[2], 2, new AttentionSettings { Heads = 2, DistanceBias = bias }));
        Assert.Equal(once.Select(x => 2 * x), Gradient(tape, bias));
        Assert.Equal(query, Gradient(tape, inputs[0]));
        Assert.NotEqual(0, once.Max(Math.Abs));
        tape.Gradients.Release();
        Assert.Equal(before, device.Pool.UsedBytes);
    }

    /// <summary>Rotation works on a copy of the packed operand, which is returned as soon as no backward pass needs it.</summary>
    [Fact]
    public void RotationLeavesThePackedOperandAlone()
    {
        using var device = new CpuDevice(1);
        Parameter packed = Filled(device, 6, 24, (row, column) => MathF.Sin(row + (5 * column)));
        float[] before = packed.ToArray();
        var tape = new Tape(device);
        AttentionSettings settings = new() { Heads = 2, Angles = tape.Values([.. Enumerable.Range(0, 24).Select(i => MathF.Cos(i))]) };
        Tensor output = tape.SelfAttention(packed, 2, settings);
        Assert.Equal(before, packed.ToArray());
        float[] expected = output.ToArray();
        Assert.Equal(expected, tape.SelfAttention(packed, 2, settings).ToArray());
        Assert.Equal(expected, tape.Recompute(packed, x => tape.SelfAttention(x, 2, settings)).ToArray());
        tape.IsRecording = false;
        long used = device.Pool.UsedBytes;
        Tensor alone = tape.SelfAttention(packed, 2, settings);
        Assert.Equal(expected, alone.ToArray());
        Assert.Equal(used + MemoryPool.RoundUp(4 * alone.Length), device.Pool.UsedBytes);
        tape.Reset();
    }

    [Fact]
    public void ShapesThatDoNotFitAreNamed()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        Tensor packed = Filled(device, 6, 24, (_, _) => 0), x = Filled(device, 6, 8, (_, _) => 0), y = Filled(device, 4, 8, (_, _) => 0), narrow = Filled(device, 6, 4, (_, _) => 0);
        Block numbers = tape.Values(new float[12]);
        var two = new AttentionSettings { Heads = 2 };
        Refused("attention: packed is 6×24; 5 query heads, 5 key heads and as many value heads of one size do not fill its 24 columns", () => tape.SelfAttention(packed, 2, new AttentionSettings { Heads = 5 }));
        Refused("attention: packed is 6×24; 2 query heads, 2 key heads and as many value heads of one size, 3, do not fill its 24 columns", () => tape.SelfAttention(packed, 2, two with { HeadSize = 3 }));
        Refused("attention: packed is 6×24; its 6 rows are not 4 sequences of one length", () => tape.SelfAttention(packed, 4, two));
        Refused("attention: 2 key heads do not divide 3 query heads", () => tape.SelfAttention(packed, 2, new AttentionSettings { Heads = 3, KeyHeads = 2 }));
        Refused("attention: packed head by head, there must be as many key heads as query heads, not 1 of 2", () => tape.SelfAttention(packed, 2, two with { KeyHeads = 1, Order = PackedOrder.Heads }));
        Refused("rotation: there are 12 angles; the 6 rows of 6×24 need 4 each", () => tape.SelfAttention(packed, 2, two with { Angles = numbers }));
        Refused("rotation: an even number of a head's 4 elements can be rotated, not 3", () => tape.SelfAttention(packed, 2, two with { Angles = numbers, RotatedSize = 3 }));
        Refused("rotation: x is 6×8; 3 heads do not divide its 8 columns", () => tape.Rotate(x, 3, numbers));
        Refused("attention: key is 6×4; it needs 8 columns, 2 key heads of 4", () => tape.Attention(x, narrow, narrow, 2, two));
        Refused("attention: value is 4×8 and key 6×8; they must have one shape", () => tape.Attention(x, x, y, 2, two));
        Refused("attention: query is 6×8 and key 4×8, so one table of angles cannot rotate both", () => tape.Attention(x, y, y, 2, two with { Angles = numbers }));
        Refused("attention: query is 6×8; 3 heads do not fill its 8 columns", () => tape.Attention(x, x, x, 2, new AttentionSettings { Heads = 3 }));
        Refused("attention: the distance bias is 6×8; 3 queries and 2 keys of 2 heads need 4×2", () => tape.Attention(x, y, y, 2, two with { DistanceBias = x }));
        Refused("the key bias: 6 elements are needed; the block has 3", () => tape.Attention(x, x, x, 2, two with { KeyBias = numbers.Slice(0, 3) }));
        Refused("attention: KeysBefore is -1; it must be at least 0", () => tape.Attention(x, x, x, 2, two with { KeysBefore = -1 }));
        Refused("attention: ranges must lie between 0 and 3, the number of keys", () => tape.Attention(x, x, x, 2, two with { Ranges = tape.Indices([0, 1, 0, 2, 0, 4, 0, 1, 1, 2, 2, 3]) }));
        Refused("attention: the ranges decrease from 2 to 1 at query 2 of sequence 1", () => tape.Attention(x, x, x, 2, two with { Ranges = tape.Indices([0, 1, 0, 2, 0, 3, 0, 1, 1, 2, 1, 1]) }));
    }

    private static void Refused(string message, Action action) => Assert.Contains(message, Assert.ThrowsAny<ArgumentException>(action).Message);

    private static Parameter Filled(Device device, int rows, int columns, Func<int, int, float> value)
    {
        var result = new Parameter(device, "x", [rows, columns]);
        device.Upload([.. Enumerable.Range(0, rows * columns).Select(i => value(i / columns, i % columns))], result.Data);
        return result;
    }

    private static float[] Gradient(Tape tape, Parameter parameter)
    {
        float[] result = new float[parameter.Length];
        tape.Device.Download(tape.Gradients[parameter], result);
        return result;
    }

    /// <summary>The gradients of Σ output · cos(place).</summary>
    private static void Backward(Tape tape, Tensor output)
    {
        Tensor sum = tape.Output([1], output);
        tape.Record(new Weighted(sum, output));
        tape.Backward(sum);
        tape.Reset();
    }

    private sealed class Weighted(Tensor sum, Tensor input) : Operation(sum, input)
    {
        public override void Backward(Tape tape) =>
            tape.Device.Upload([.. Enumerable.Range(0, (int)input.Length).Select(i => MathF.Cos(i))], tape.GradientOf(input, out _));
    }
}
