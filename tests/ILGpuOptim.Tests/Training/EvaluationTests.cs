using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

public sealed class EvaluationTests : IDisposable
{
    private static readonly int[] Text = [.. Enumerable.Range(0, 151).Select(i => 5 + i * i % 71)];

    private readonly CpuDevice device = new(2);

    public void Dispose() => device.Dispose();

    /// <summary>Each token but the first is predicted once, with all that the window's start leaves it as context.</summary>
    [Theory]
    [InlineData("llama-tiny", 16, 0)]
    [InlineData("llama-tiny", 16, 4)]
    [InlineData("gpt2-tiny", 16, 5)]
    [InlineData("gpt2-tiny", 7, 1)]
    [InlineData("mixtral-tiny", 16, 0)] // without the routers' load-balancing loss
    public void EachTokenIsPredictedOnceInItsWindow(string name, int block, int stride)
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", name), device);
        EvaluationResult measured = Evaluation.Run(model, device, TokenSequence.From(Text), bytes: 300, new EvaluationOptions { Block = block, Stride = stride });
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        double sum = 0;
        int step = stride == 0 ? block : stride;
        for (int target = 1; target < Text.Length; target++)
        {
            int window = target <= block ? 0 : (target - block + step - 1) / step;
            int[] context = Text[(window * step)..target], targets = [.. Enumerable.Repeat(-1, context.Length - 1), Text[target]];
            sum += model.Losses(tape, new TokenBatch(context, 1), targets).CrossEntropy.Item();
            tape.Reset();
        }

        Assert.Equal(150, measured.Tokens);
        Assert.Equal(sum / 150, measured.Loss, 2e-6);
        Assert.Equal(Math.Exp(measured.Loss), measured.Perplexity, 1e-9);
        Assert.Equal(sum / Math.Log(2) / 300, measured.BitsPerByte!.Value, 2e-6);
    }

    [Fact]
    public void AMaskedModelTellsHowManyHiddenTokensItFinds()
    {
        using var model = (Transformer)ModelFiles.Load(Goldens.Folder("models", "bert-tiny"), device);
        var tokens = TokenSequence.From(Text);
        EvaluationResult first = Evaluation.Run(model, device, tokens, 300, new EvaluationOptions { Block = 16 });
        Assert.Equal(first, Evaluation.Run(model, device, tokens, 300, new EvaluationOptions { Block = 16 }));
        Assert.Equal(20, first.Tokens); // nine windows with two hidden tokens each, and one of seven tokens
        Assert.Null(first.BitsPerByte);

        // A model whose head always says one token finds exactly where it is hidden.
        var bias = new float[model.HeadBias!.Length];
        bias[9] = 1000;
        model.HeadBias.Load(bias);
        Assert.Equal(1, Evaluation.Run(model, device, TokenSequence.From([.. Enumerable.Repeat(9, 100)]), null).Accuracy);
        Assert.Equal(0, Evaluation.Run(model, device, TokenSequence.From([.. Enumerable.Repeat(8, 100)]), null).Accuracy);
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "gpt2-tiny"), device);
        string Refused(int[] tokens, EvaluationOptions options) => Assert.Throws<UserException>(() => Evaluation.Run(model, device, TokenSequence.From(tokens), null, options)).Message;
        Assert.Contains("positions", Refused(Text, new() { Block = 100_000 }), StringComparison.Ordinal);
        Assert.Contains("stride", Refused(Text, new() { Block = 8, Stride = 9 }), StringComparison.Ordinal);
        Assert.Contains("another tokenizer", Refused([1, 60_000], new()), StringComparison.Ordinal);
        Assert.Contains("too few", Refused([1], new()), StringComparison.Ordinal);
    }
}
