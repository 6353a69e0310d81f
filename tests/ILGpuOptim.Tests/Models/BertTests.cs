using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

public class BertTests
{
    private static readonly BertConfig Config = new()
    {
        VocabularySize = 31,
        HiddenSize = 16,
        IntermediateSize = 24,
        Layers = 2,
        Heads = 2,
        ContextLength = 12,
        HiddenDropout = 0,
        AttentionDropout = 0,
        InitializerRange = 0.2f,
    };

    [Fact]
    public void PaddingChangesNothing()
    {
        using var device = new CpuDevice(2);
        using var model = new Transformer(Config, new Initializer(device, 1));
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        int[] tokens = [5, 7, 9, 11, 30];
        float[] alone = model.Hidden(tape, new TokenBatch(tokens, 1)).ToArray();
        float[] padded = model.Hidden(tape, new TokenBatch([.. tokens, 0, 0, 0], 1) { Mask = [1, 1, 1, 1, 1, 0, 0, 0] }).ToArray();
        Assert.All(alone.Zip(padded), pair => Assert.Equal(pair.First, pair.Second, 1e-6f));
    }

    [Fact]
    public void SegmentsCount()
    {
        using var device = new CpuDevice(2);
        using var model = new Transformer(Config, new Initializer(device, 1));
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        int[] tokens = [5, 7, 9];
        Assert.Equal(model.Hidden(tape, new TokenBatch(tokens, 1)).ToArray(), model.Hidden(tape, new TokenBatch(tokens, 1) { Segments = [0, 0, 0] }).ToArray());
        Assert.NotEqual(model.Hidden(tape, new TokenBatch(tokens, 1)).ToArray(), model.Hidden(tape, new TokenBatch(tokens, 1) { Segments = [0, 0, 1] }).ToArray());
        Assert.Throws<ArgumentOutOfRangeException>(() => model.Hidden(tape, new TokenBatch(tokens, 1) { Segments = [0, 0, 2] }));
        Assert.Throws<ArgumentException>(() => model.Hidden(tape, new TokenBatch(tokens, 1) { Mask = [1] }));
    }

    [Fact]
    public void TheLossOfSomePositionsIsThatOfTheWholeHead()
    {
        using var device = new CpuDevice(2);
        using var model = new Transformer(Config, new Initializer(device, 1));
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        int[] tokens = [5, 7, 9, 11, 30, 2], targets = [-1, 4, -1, -1, 8, -1];
        float loss = model.Loss(tape, tokens, targets, 2).Item();
        float[] logits = model.Logits(tape, tokens, 2).ToArray();
        double expected = new[] { (Row: 1, Target: 4), (Row: 4, Target: 8) }.Average(item =>
        {
            float[] row = logits[(item.Row * 31)..((item.Row + 1) * 31)];
            return Math.Log(row.Sum(value => Math.Exp(value))) - row[item.Target];
        });
        Assert.Equal(expected, loss, 1e-6);
        Assert.Equal(0, model.Loss(tape, tokens, [-1, -1, -1, -1, -1, -1], 2).Item());
    }
}
