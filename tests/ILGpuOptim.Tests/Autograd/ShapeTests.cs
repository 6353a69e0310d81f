using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Operations with parameters keep the leading sizes of x, and name the layer whose shapes do not fit.</summary>
public sealed class ShapeTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly Tape tape;
    private readonly Parameter up, down, bias, norm, table;

    public ShapeTests()
    {
        tape = new Tape(device);
        (up, down, bias, norm, table) = (Of("mlp.up.weight", 6, 4), Of("mlp.down.weight", 6, 4), Of("mlp.up.bias", 6), Of("norm.weight", 4), Of("tokens.weight", 7, 4));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(3, 4)]
    [InlineData(2, 3, 4)]
    [InlineData(2, 1, 3, 4)]
    [InlineData(0, 3, 4)]
    [InlineData(2, 0, 4)]
    public void LeadingSizesStay(params int[] shape)
    {
        Parameter x = Of("x", shape);
        int[] wide = [.. shape[..^1], 6], rows = new int[x.Rows];
        Assert.Equal(wide, tape.Linear(x, up, bias, null, transposed: true).Shape);
        Assert.Equal(wide, tape.Linear(x, up, null, Of("residual", wide), transposed: true).Shape);
        Assert.Equal(wide, tape.LinearActivation(x, up, bias, Activation.Relu, transposed: true).Shape);
        Assert.Equal(wide, tape.GatedProduct(x, up, down, null, null, Activation.Silu).Shape);
        Assert.Equal([.. shape[..^1], 12], tape.LinearPacked(x, [up, down]).Shape);
        Assert.Equal(shape, tape.LayerNorm(x, norm, norm, 1e-5f).Shape);
        Assert.Equal(shape, tape.RmsNorm(x, norm, 1e-5f).Shape);
        Assert.Equal(shape, tape.Dropout(x, 0.5f).Shape);
        Assert.Equal(shape, tape.Embedding(table, tape.Indices(rows), x).Shape);
        Assert.Empty(tape.CrossEntropy(x, table, null, rows).Shape);
    }

    [Fact]
    public void ShapesThatDoNotFitAreNamed()
    {
        Parameter x = Of("x", 2, 5), right = Of("right", 2, 4), wide = Of("wide", 2, 2, 4);
        Refuses("Linear 'mlp.up' takes 4 columns, x is 2×5", () => tape.Linear(x, up, null, null, transposed: true));
        Refuses("Linear 'mlp.up' takes 6 columns, x is 2×5", () => tape.Linear(x, up, null));
        Refuses("Linear 'mlp.up' makes 6 columns, its bias is [4]", () => tape.Linear(right, up, norm, null, transposed: true));
        Refuses("Linear 'mlp.up' makes 2×6, to which 2×4 cannot be added", () => tape.Linear(right, up, bias, right, transposed: true));
        Refuses("Linear 'mlp.up' makes 2×2×6, to which 4×6 cannot be added", () => tape.Linear(wide, up, null, Of("flat", 4, 6), transposed: true));
        Refuses("Linear 'norm': the weight is [4]", () => tape.Linear(right, norm, null));
        Refuses("Linear takes 4 columns, x is 2×5", () => tape.Linear(x, tape.Detach(up), null, null, transposed: true));
        Refuses("LinearActivation 'mlp.up' takes 4 columns", () => tape.LinearActivation(x, up, null, Activation.Relu, transposed: true));
        Refuses("GatedProduct 'mlp.up' takes 4 columns", () => tape.GatedProduct(x, up, down, null, null, Activation.Silu));
        Refuses("LinearPacked 'mlp.down' takes 4 columns", () => tape.LinearPacked(x, [down, up]));
        Refuses("1 biases for 2 weights", () => tape.LinearPacked(right, [up, down], [bias]));
        Refuses("LayerNorm 'norm' takes 4 columns or a multiple of them, x is 2×5", () => tape.LayerNorm(x, norm, norm, 1e-5f));
        Refuses("LayerNorm 'norm' takes 4 columns, its bias is [6]", () => tape.LayerNorm(right, norm, bias, 1e-5f));
        Refuses("RmsNorm 'norm' takes 4 columns or a multiple of them, x is 2×5", () => tape.RmsNorm(x, norm, 1e-5f));
        Refuses("Embedding 'tokens' makes 3×4, to which 2×4 cannot be added", () => tape.Embedding(table, tape.Indices([1, 2, 3]), right));
        Refuses("Embedding 'norm': the weight is [4]", () => tape.Embedding(norm, tape.Indices([1])));
        Refuses("CrossEntropy 'tokens' takes 4 columns, x is 2×5", () => tape.CrossEntropy(x, table, null, [1, 2]));
        Refuses("1 targets for the 2 rows of 2×4", () => tape.CrossEntropy(right, table, null, [1]));
        Refuses("LowRankSum 'mlp.up': a rank × 4 and a 6 × rank matrix make its 6×4", () => tape.LowRankSum(up, right, right, 1, transposed: true));
    }

    [Fact]
    public void IndicesOutsideATableAreRefused()
    {
        Parameter x = Of("x", 2, 4);
        Outside("Embedding 'tokens' has 7 rows, there is no row 7", () => tape.Embedding(table, tape.Indices([1, 7])));
        Outside("Embedding 'tokens' has 7 rows, there is no row -1", () => tape.Embedding(table, tape.Indices([-1, 0])));
        Outside("there is no row 9", () => tape.Embedding(table, tape.Indices([1]), null, padding: 9));
        Outside("vocabulary of 7", () => tape.CrossEntropy(x, table, null, [7, 0]));
        Outside("CrossEntropy 'tokens': softCap is -1", () => tape.CrossEntropy(x, table, null, [1, 0], softCap: -1));
        Outside("smoothing", () => tape.CrossEntropy(x, table, null, [1, 0], labelSmoothing: 1.5f));
        Outside("probability", () => tape.Dropout(x, 1));
        Outside("probability", () => tape.Dropout(x, float.NaN));
    }

    [Fact]
    public void CrossEntropyCountsNothingWithoutTargets()
    {
        Parameter x = Of("x", 2, 4);
        foreach (float smoothing in (float[])[0, 0.1f])
        {
            Tensor loss = tape.CrossEntropy(x, table, null, [-1, -100], softCap: 2, labelSmoothing: smoothing);
            Assert.Equal(0, loss.Item());
            tape.Gradients.Clear();
            tape.Backward(loss);
            var gradient = new float[table.Length];
            device.Download(tape.Gradients[table], gradient);
            Assert.All(gradient, value => Assert.Equal(0, value));
        }
    }

    [Fact]
    public void InfiniteLogitsHaveAGradientOfZeroWithoutACap()
    {
        Parameter x = Of("x", 1, 4), masked = new(device, "bias", 7);
        masked.Load([0, 0, float.NegativeInfinity, 0, 0, 0, 0]);
        foreach (long kept in (long[])[0, 1000])
        {
            tape.Gradients.Clear();
            tape.Backward(tape.CrossEntropy(x, table, masked, [1], mostKept: kept));
            var gradient = new float[7];
            device.Download(tape.Gradients[masked], gradient);
            Assert.All(gradient, value => Assert.True(float.IsFinite(value)));
            Assert.Equal(0, gradient[2]);
        }
    }

    public void Dispose()
    {
        tape.Dispose();
        device.Dispose();
    }

    private static void Refuses(string message, Func<Tensor> call) =>
        Assert.Contains(message, Assert.ThrowsAny<ArgumentException>(call).Message, StringComparison.Ordinal);

    private static void Outside(string message, Func<Tensor> call) =>
        Assert.Contains(message, Assert.Throws<ArgumentOutOfRangeException>(call).Message, StringComparison.Ordinal);

    private Parameter Of(string name, params int[] shape)
    {
        var parameter = new Parameter(device, name, shape);
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, (ulong)name.Length);
        return parameter;
    }
}
