using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Gradients belong to tapes.</summary>
public sealed class GradientsTests : IDisposable
{
    private static readonly int[] First = [1, 4, 2, 2, 0, 6, 5, 3], Second = [3, 3, 1, 6, 2, 0, 4, 5];

    private readonly CpuDevice device = new(2);
    private readonly LanguageModel model;

    public GradientsTests() => model = new Gpt2Config { VocabularySize = 7, ContextLength = 8, HiddenSize = 12, Layers = 2, Heads = 2 }.Create(new Initializer(device, 5));

    [Fact]
    public void TwoTapesShareAModel()
    {
        float[][] first = Alone(First), second = Alone(Second);
        using var one = new Tape(device);
        using var two = new Tape(device);
        var ready = new List<(int Tape, Parameter Parameter)>();
        one.GradientReady = parameter => ready.Add((1, parameter));
        two.GradientReady = parameter => ready.Add((2, parameter));

        // Both have recorded before either goes back, and their backward passes interleave with a third forward pass.
        Tensor lossOne = model.Loss(one, First, First, 1), lossTwo = model.Loss(two, Second, Second, 1);
        two.Backward(lossTwo);
        two.Reset();
        Tensor again = model.Loss(two, Second, Second, 1);
        one.Backward(lossOne);
        Assert.Equal(first, Of(one));
        Assert.Equal(second, Of(two));
        two.Backward(again);
        one.Reset();
        two.Reset();
        Assert.Equal(first, Of(one));
        Assert.All(Of(two).Zip(second), pair => Assert.All(pair.First.Zip(pair.Second), values => Assert.Equal(2 * values.Second, values.First, 3e-7f)));
        foreach (Parameter parameter in model.Parameters)
        {
            Assert.Single(ready, (1, parameter));
            Assert.Equal(2, ready.Count(entry => entry == (2, parameter)));
        }
    }

    [Fact]
    public void AnUpdateTakesTheGradientsOfItsTape()
    {
        using var tape = new Tape(device);
        tape.Backward(model.Loss(tape, First, First, 1));
        using var other = new Tape(device);
        other.Backward(model.Loss(other, Second, Second, 1));
        using var sgd = new Sgd();
        foreach (Parameter parameter in model.Parameters)
            sgd.Add(parameter, new SgdOptions { LearningRate = 1, Momentum = 0 });
        float[] before = model.Parameters[0].ToArray(), gradient = Of(tape)[0];
        sgd.Step(tape.Gradients);
        Assert.Equal(before.Zip(gradient, (p, g) => p - g), model.Parameters[0].ToArray());
    }

    [Fact]
    public void MemoryIsKeptByClearAndReturnedByRelease()
    {
        long before = device.Pool.UsedBytes;
        using (var tape = new Tape(device))
        {
            tape.Backward(model.Loss(tape, First, First, 1));
            tape.Reset();
            long bytes = tape.Gradients.Bytes;
            Assert.Equal(4 * model.ParameterCount, bytes);
            tape.Gradients.Clear();
            Assert.Equal(bytes, tape.Gradients.Bytes);
            Parameter parameter = model.Parameters[1];
            Assert.Contains($"'{parameter.Name}' has no gradient", Assert.Throws<InvalidOperationException>(() => tape.Gradients[parameter]).Message, StringComparison.Ordinal);
            tape.Gradients.Release(parameter);
            tape.Gradients.Release(parameter);
            Assert.Equal(bytes - 4 * parameter.Length, tape.Gradients.Bytes);
            tape.Backward(model.Loss(tape, First, First, 1));
        }

        Assert.Equal(before, device.Pool.UsedBytes);
    }

    [Fact]
    public void AnUpdateOfAParameterWithoutGradientIsRefused()
    {
        var gradients = new Gradients(device);
        using var sgd = new Sgd();
        sgd.Add(model.Parameters[0], new SgdOptions());
        Assert.Contains("has no gradient", Assert.Throws<InvalidOperationException>(() => sgd.Step(gradients, model.Parameters[0])).Message, StringComparison.Ordinal);
        float[] before = model.Parameters[0].ToArray();
        Assert.Contains("no parameter has a gradient", Assert.Throws<InvalidOperationException>(() => sgd.Step(gradients)).Message, StringComparison.Ordinal);
        Assert.Equal(before, model.Parameters[0].ToArray());
    }

    public void Dispose()
    {
        model.Dispose();
        device.Dispose();
    }

    private float[][] Alone(int[] tokens)
    {
        using var tape = new Tape(device);
        tape.Backward(model.Loss(tape, tokens, tokens, 1));
        return Of(tape);
    }

    private float[][] Of(Tape tape) => [.. model.Parameters.Select(parameter =>
    {
        var values = new float[parameter.Length];
        device.Download(tape.Gradients[parameter], values);
        return values;
    })];
}
