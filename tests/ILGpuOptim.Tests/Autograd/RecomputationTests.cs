using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Blocks that are computed again: the same bits, less memory, and gradients that are ready when they are complete.</summary>
public sealed class RecomputationTests : IDisposable
{
    private const int Rows = 24, Columns = 16, Wide = 64, Blocks = 4;

    private readonly CpuDevice device = new(2);
    private readonly Parameter x, shared, head;
    private readonly Parameter[] inner, outer;
    private readonly int[] targets = [.. Enumerable.Range(0, Rows).Select(i => i * 7 % 11)];

    public RecomputationTests()
    {
        (x, shared, head) = (Normal("x", Rows, Columns), Normal("shared", Columns, Columns), Normal("head", 11, Columns));
        inner = [.. Enumerable.Range(0, Blocks).Select(i => Normal($"{i}.inner", Wide, Columns))];
        outer = [.. Enumerable.Range(0, Blocks).Select(i => Normal($"{i}.outer", Columns, Wide))];
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void GivesTheSameBitsWithLessMemory(bool nested)
    {
        (float[][] expected, long most, _) = Run((tape, z, block) => block(z));
        (float[][] actual, long less, _) = Run((tape, z, block) => tape.Recompute(z, nested ? y => tape.Recompute(y, block) : block));
        Assert.Equal(expected, actual);
        Assert.True(less < most / 2, $"{less} bytes instead of {most}");
    }

    [Fact]
    public void SeveralBlocksMayBeOne() => Assert.Equal(Run((tape, z, block) => block(z)).Gradients[1..], RunTwoByTwo());

    [Fact]
    public void ABlockWithoutAGradientPassesNoneOn()
    {
        float[] plain = Gradient((y, block) => block(y));
        Assert.Equal(plain, Gradient((y, block) => y.Tape!.Recompute(y, block)));
        Assert.Contains(plain, value => value != 0);

        float[] Gradient(Func<Tensor, Func<Tensor, Tensor>, Tensor> through)
        {
            using var tape = new Tape(device);
            Tensor y = tape.Linear(x, shared, null), mask = through(y, z => z > 0), constant = through(y, z => z.Tape!.Detach(z.Tape.Square(z)));
            tape.Backward(tape.Sum(y * mask * constant));
            var values = new float[x.Length];
            device.Download(tape.Gradients[x], values);
            return values;
        }
    }

    [Fact]
    public void ParametersAreReadyOnceWhenTheirGradientIsComplete()
    {
        // The shared weight is used by every block, and by what comes before them.
        (float[][] gradients, _, Dictionary<Parameter, float[]> ready) = Run((tape, z, block) => tape.Recompute(z, block));
        Assert.Equal(All.Length, ready.Count);
        Assert.All(All.Zip(gradients[1..]), pair => Assert.Equal(pair.Second, ready[pair.First]));
    }

    [Fact]
    public void WithoutRecordingOnlyTheResultStays()
    {
        using var tape = new Tape(device) { IsRecording = false };
        long before = device.Pool.UsedBytes;
        Tensor plain = Block(tape, 0, x, tape.Linear(x, shared, null));
        float[] expected = plain.ToArray();
        tape.Reset();
        Tensor y = tape.Linear(x, shared, null), result = tape.Recompute(y, z => Block(tape, 0, z, y));
        Assert.False(result.RequiresGradient);
        Assert.Equal(before + 2 * MemoryPool.RoundUp(4 * Rows * Columns), device.Pool.UsedBytes);
        result.ToArray();
        tape.Reset();
        Assert.Equal(before, device.Pool.UsedBytes);
        Assert.Equal(Rows * Columns, expected.Length);
    }

    [Fact]
    public void ABlockWithoutParametersPassesAGradient()
    {
        float[] expected = Gradient(tape => tape.Add(tape.Dropout(tape.Linear(x, shared, null), 0.5f), x));
        Assert.Equal(expected, Gradient(tape => tape.Recompute(tape.Linear(x, shared, null), y => tape.Add(tape.Dropout(y, 0.5f), x))));
        Assert.Equal(Gradient(tape => tape.Linear(x, shared, null)), Gradient(tape => tape.Recompute(tape.Linear(x, shared, null), y => y)));

        // A result that is a tensor from outside, and a parameter as the input.
        Assert.Equal(Gradient(tape => tape.Linear(x, shared, null)), Gradient(tape =>
        {
            Tensor z = tape.Linear(x, shared, null);
            return tape.Recompute(x, _ =>
            {
                tape.Linear(z, shared, null);
                return z;
            });
        }));
        Assert.Equal(Gradient(tape => tape.Linear(x, shared, null)), Gradient(tape => tape.Recompute(x, y => tape.Linear(y, shared, null))));
    }

    [Fact]
    public void FrozenParametersNeedNothing()
    {
        foreach (Parameter parameter in All)
            parameter.IsFrozen = true;
        using var tape = new Tape(device);
        Assert.False(tape.Recompute(x, y => tape.Linear(y, shared, null)).RequiresGradient);
    }

    [Fact]
    public void ABlockThatDoesSomethingElseTheSecondTimeIsRefused()
    {
        using var tape = new Tape(device);
        int calls = 0;
        Tensor y = tape.Recompute(x, z => tape.Linear(z, ++calls == 1 ? shared : head, null, transposed: true));
        Exception error = Assert.Throws<InvalidOperationException>(() => tape.Backward(tape.CrossEntropy(y, head, null, targets)));
        Assert.Contains("the same each time", error.Message, StringComparison.Ordinal);
        tape.Reset();
    }

    [Fact]
    public void AFailureWithinABlockLeavesNothingBehind()
    {
        long before = device.Pool.UsedBytes;
        using (var tape = new Tape(device))
        {
            Assert.Throws<IOException>(() => tape.Recompute(x, _ => throw new IOException()));
            Assert.True(tape.IsRecording);
            int calls = 0;
            Tensor y = tape.Recompute(x, z => ++calls == 1 ? tape.Linear(z, shared, null) : throw new IOException());
            Assert.Throws<IOException>(() => tape.Backward(tape.CrossEntropy(y, head, null, targets)));
            tape.Reset();
            y = tape.Recompute(x, z => tape.Linear(z, shared, null));
            tape.Backward(tape.CrossEntropy(y, head, null, targets));
            Assert.True(tape.Gradients.Has(shared));
        }

        Assert.Equal(before, device.Pool.UsedBytes);
    }

    [Fact]
    public void AScopeKeepsWhatItIsTold()
    {
        using var tape = new Tape(device) { IsRecording = false };
        Tensor before = tape.Linear(x, shared, null), inside, kept, nested;
        using (TapeScope scope = tape.Scope())
        {
            inside = tape.Linear(before, shared, null);
            using (TapeScope within = tape.Scope())
                nested = within.Keep(tape.Linear(tape.Linear(inside, shared, null), shared, null));
            tape.Release(before.Data);
            kept = scope.Keep(tape.Linear(nested, shared, null));
            nested.ToArray();
        }

        Assert.Equal(Rows * Columns, kept.ToArray().Length);
        Assert.Contains("scope", Assert.Throws<ObjectDisposedException>(inside.ToArray).Message, StringComparison.Ordinal);
        Assert.Throws<ObjectDisposedException>(nested.ToArray);
        Assert.Throws<ObjectDisposedException>(before.ToArray);

        // While the tape records, everything stays for the backward pass.
        tape.IsRecording = true;
        using (TapeScope scope = tape.Scope())
            inside = tape.Linear(x, shared, null);
        inside.ToArray();
    }

    [Fact]
    public void AScopeThatAResetOverlapsEndsWithIt()
    {
        using var tape = new Tape(device) { IsRecording = false };
        Tensor y;
        using (tape.Scope())
        {
            tape.Linear(x, shared, null);
            tape.Reset();
            y = tape.Linear(x, shared, null);
        }

        Assert.Equal(Rows * Columns, y.ToArray().Length);
    }

    public void Dispose() => device.Dispose();

    private Parameter[] All => [x, shared, head, .. inner, .. outer];

    /// <summary>A block that reads a tensor from outside beside its input, a weight that others share, and random numbers.</summary>
    private Tensor Block(Tape tape, int i, Tensor z, Tensor first)
    {
        Tensor h = tape.LinearActivation(tape.Linear(z, shared, null), inner[i], null, Activation.GeluTanh, transposed: true);
        return tape.Add(tape.Dropout(tape.Linear(h, outer[i], null, first, transposed: true), 0.25f), z);
    }

    private (float[][] Gradients, long Peak, Dictionary<Parameter, float[]> Ready) Run(Func<Tape, Tensor, Func<Tensor, Tensor>, Tensor> apply)
    {
        using var tape = new Tape(device) { Seed = 4 };
        var ready = new Dictionary<Parameter, float[]>();
        tape.GradientReady = parameter => ready.Add(parameter, Of(tape, parameter));
        device.Pool.ResetPeak();
        long before = device.Pool.UsedBytes;
        Tensor first = tape.Linear(x, shared, null), z = first;
        for (int i = 0; i < Blocks; i++)
        {
            int number = i;
            z = apply(tape, z, y => Block(tape, number, y, first));
        }

        Tensor loss = tape.CrossEntropy(z, head, null, targets);
        long forward = device.Pool.UsedBytes - before;
        tape.Backward(loss);
        return ([[loss.Item(), tape.RandomStream], .. All.Select(parameter => Of(tape, parameter))], forward, ready);
    }

    private float[][] RunTwoByTwo()
    {
        using var tape = new Tape(device) { Seed = 4 };
        Tensor first = tape.Linear(x, shared, null), z = first;
        for (int i = 0; i < Blocks; i += 2)
        {
            int number = i;
            z = tape.Recompute(z, y => Block(tape, number + 1, Block(tape, number, y, first), first));
        }

        tape.Backward(tape.CrossEntropy(z, head, null, targets));
        return [.. All.Select(parameter => Of(tape, parameter))];
    }

    private float[] Gradient(Func<Tape, Tensor> output)
    {
        long before = device.Pool.UsedBytes;
        float[] result;
        using (var tape = new Tape(device) { Seed = 4 })
        {
            tape.Backward(tape.CrossEntropy(output(tape), head, null, targets));
            result = [.. Of(tape, x), .. Of(tape, shared)];
        }

        Assert.Equal(before, device.Pool.UsedBytes);
        return result;
    }

    private float[] Of(Tape tape, Parameter parameter)
    {
        var values = new float[parameter.Length];
        device.Download(tape.Gradients[parameter], values);
        return values;
    }

    private Parameter Normal(string name, params int[] shape)
    {
        var parameter = new Parameter(device, name, shape);
        device.Random(parameter.Data, RandomKind.Normal, 0.3f, 1, (ulong)name[0]);
        return parameter;
    }
}
