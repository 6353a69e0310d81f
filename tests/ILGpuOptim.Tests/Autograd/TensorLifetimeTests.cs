using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>What a tensor's memory is returned by, and what is said to whoever reads it then.</summary>
public sealed class TensorLifetimeTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly Tape tape;
    private readonly Parameter x, weight, head;

    public TensorLifetimeTests()
    {
        tape = new Tape(device);
        (x, weight, head) = (Normal("x", 3, 4), Normal("weight", 4, 4), Normal("head", 5, 4));
    }

    [Fact]
    public void DisposedTapesAreRefused()
    {
        using var device = new CpuDevice(1);
        var tape = new Tape(device);
        Tensor x = tape.Ones(2, 3);
        Tensor loss = tape.Sum(x);
        tape.Dispose();
        tape.Dispose();
        Assert.Throws<ObjectDisposedException>(() => tape.Ones(2));
        Assert.Throws<ObjectDisposedException>(() => tape.Scratch(1));
        Assert.Throws<ObjectDisposedException>(() => tape.Reshape(x, 3, 2));
        Assert.Throws<ObjectDisposedException>(() => tape.Detach(x));
        Assert.Throws<ObjectDisposedException>(() => tape.Backward(loss));
        Assert.Equal(0, device.Pool.UsedBytes);
    }

    [Fact]
    public void ResultsAreGoneAfterABackwardPassUnlessTheyAreKept()
    {
        Tensor y = tape.Linear(x, weight, null), z = tape.Linear(y, weight, null), loss = tape.CrossEntropy(z, head, null, [1, 2, 3]);
        y.IsKept = true;
        float[] before = y.ToArray();
        float value = loss.Item();
        tape.Backward(loss);
        Assert.Equal(before, y.ToArray());
        Assert.Equal(value, loss.Item());
        string message = Assert.Throws<ObjectDisposedException>(z.ToArray).Message;
        Assert.Contains("3×4 is read after a backward pass", message, StringComparison.Ordinal);
        Assert.Contains("IsKept", message, StringComparison.Ordinal);
        Assert.Throws<ObjectDisposedException>(() => tape.Linear(z, weight, null));
        tape.Reset();
        Assert.Throws<ObjectDisposedException>(y.ToArray);
        Assert.Contains("reset or disposed", Assert.Throws<ObjectDisposedException>(() => loss.Item()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WhatIsKeptOfRandomOperationsStaysAsItWas()
    {
        Tensor dropped = tape.Dropout(x, 0.5f), noisy = tape.Jitter(x, 0.25f);
        (dropped.IsKept, noisy.IsKept) = (true, true);
        (float[] ofDropped, float[] ofNoisy) = (dropped.ToArray(), noisy.ToArray());
        tape.Backward(tape.Sum(tape.Square(tape.Add(dropped, noisy))));
        Assert.Equal(ofDropped, dropped.ToArray());
        Assert.Equal(ofNoisy, noisy.ToArray());
    }

    [Fact]
    public void ALossThatNobodyKeptStaysReadable()
    {
        Parameter one = Normal("one", 1, 4), column = Normal("column", 4, 1);
        Tensor loss = tape.Linear(one, column, null);
        float value = loss.Item();
        tape.Backward(loss);
        Assert.Equal(value, loss.Item());
    }

    /// <summary>A gradient that cannot be taken, of an operation among others.</summary>
    private sealed class Failing(Tensor output, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape) => throw new NotSupportedException("no gradient");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AFailedBackwardPassLeavesNothingForTheNext(bool recomputes)
    {
        using var clean = new Tape(device);
        clean.Backward(clean.CrossEntropy(clean.Linear(x, weight, null), head, null, [1, 2, 3]));
        Assert.Throws<NotSupportedException>(() => tape.Backward(tape.Sum(recomputes ? tape.Recompute(tape.Linear(x, weight, null), Fail) : Fail(tape.Linear(x, weight, null)))));
        tape.Gradients.Clear();
        var ready = new List<Parameter>();
        tape.GradientReady = ready.Add;
        tape.Backward(tape.CrossEntropy(tape.Linear(x, weight, null), head, null, [1, 2, 3]));
        Assert.Equal(["head", "weight", "x"], ready.Select(parameter => parameter.Name).Order(StringComparer.Ordinal));
        foreach (Parameter parameter in ready)
            Assert.Equal(Read(clean, parameter), Read(tape, parameter));

        Tensor Fail(Tensor y)
        {
            Tensor z = tape.Linear(y, weight, null), failed = tape.Output(z.Shape.ToArray(), z);
            device.Copy(z.Data, failed.Data);
            tape.Record(new Failing(failed, z));
            return tape.Add(failed, tape.Square(z));
        }

        float[] Read(Tape of, Parameter parameter)
        {
            var values = new float[parameter.Length];
            device.Download(of.Gradients[parameter], values);
            return values;
        }
    }

    [Fact]
    public void ASecondBackwardPassIsRefused()
    {
        Tensor y = tape.Linear(x, weight, null), first = tape.CrossEntropy(y, head, null, [1, 2, 3]), second = tape.CrossEntropy(y, head, null, [0, 2, 4]);
        tape.Backward(first);
        foreach (Tensor loss in (Tensor[])[first, second])
        {
            Exception error = Record.Exception(() => tape.Backward(loss))!;
            Assert.True(error is InvalidOperationException, error.ToString());
        }

        Assert.Contains("already taken", Assert.Throws<InvalidOperationException>(() => tape.Backward(first)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void NoGradientPassesThroughATensorOfAnEarlierRecording()
    {
        Tensor y = tape.Linear(x, weight, null);
        y.IsKept = true;
        tape.Backward(tape.CrossEntropy(y, head, null, [1, 2, 3]));
        Assert.Contains("Detach", Assert.Throws<InvalidOperationException>(() => tape.Linear(y, weight, null)).Message, StringComparison.Ordinal);
        tape.Gradients.Clear();
        tape.Backward(tape.CrossEntropy(tape.Detach(y), head, null, [1, 2, 3]));
        Assert.True(tape.Gradients.Has(head));
        Assert.False(tape.Gradients.Has(weight));
        tape.IsRecording = false;
        Assert.Equal(3, tape.Linear(y, weight, null).Rows);
    }

    [Fact]
    public void DetachedTensorsShareTheMemoryOfTheirOriginal()
    {
        Tensor y = tape.Linear(x, weight, null), same = tape.Detach(y);
        Assert.Equal(y.ToArray(), same.ToArray());
        same.IsKept = true;
        Assert.True(y.IsKept);
        tape.Backward(tape.CrossEntropy(y, head, null, [1, 2, 3]));
        Assert.Equal(12, same.ToArray().Length);
        tape.Reset();
        Assert.Throws<ObjectDisposedException>(same.ToArray);
    }

    [Fact]
    public void SlicesOfRowsShareTheMemoryOfTheirTensor()
    {
        using var tape = new Tape(device);
        var x = new Parameter(device, "x", 4, 3);
        x.Load([.. Enumerable.Range(0, 12).Select(i => (float)i)]);
        Tensor kept = tape.Square(x), other = tape.Square(x);
        long before = device.Pool.UsedBytes;
        Tensor rows = tape.Slice(kept, 0, 1..3), row = tape.Select(rows, 0, 1), gone = tape.Slice(other, 0, ..1), columns = tape.Split(other, 0, 1, 3)[1];
        Assert.Equal(before, device.Pool.UsedBytes);
        row.IsKept = true;
        Assert.True(kept.IsKept && !other.IsKept);
        tape.Backward(tape.Add(tape.Sum(row), tape.Add(tape.Sum(gone), tape.Sum(columns))));
        Assert.Equal([36, 49, 64], row.ToArray());
        Assert.Equal([9, 16, 25, 36, 49, 64], rows.ToArray());
        Assert.Contains("after a backward pass", Assert.Throws<ObjectDisposedException>(() => gone.ToArray()).Message, StringComparison.Ordinal);
        var gradient = new float[12];
        device.Download(tape.Gradients[x], gradient);
        Assert.Equal([0, 2, 4, 6, 8, 10, 24, 28, 32, 18, 20, 22], gradient);
        tape.Reset();
        Assert.Throws<ObjectDisposedException>(() => row.ToArray());

        // Without recording, a scope keeps the whole memory of a slice that it keeps.
        tape.IsRecording = false;
        Tensor last;
        using (TapeScope scope = tape.Scope())
            last = scope.Keep(tape.Slice(tape.Square(x), 0, 3..));
        Assert.Equal([81, 100, 121], last.ToArray());
    }

    [Fact]
    public void TapesDoNotMixTensors()
    {
        using var other = new Tape(device);
        Tensor y = tape.Linear(x, weight, null), theirs = other.Linear(x, weight, null), loss = tape.CrossEntropy(y, head, null, [1, 2, 3]);
        Assert.Same(tape, y.Tape);
        Assert.Null(x.Tape);
        Assert.Contains("another tape", Assert.Throws<ArgumentException>(() => other.Linear(y, weight, null)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => tape.Linear(y, weight, null, theirs));
        Assert.Throws<ArgumentException>(() => other.Backward(loss));
        Assert.Throws<ArgumentException>(() => other.Detach(y));
    }

    [Fact]
    public void ABackwardPassBeginsAtARecordedScalar()
    {
        Tensor y = tape.Linear(x, weight, null);
        Assert.Contains("3×4", Assert.Throws<ArgumentException>(() => tape.Backward(y)).Message, StringComparison.Ordinal);
        tape.IsRecording = false;
        Tensor loss = tape.CrossEntropy(tape.Linear(x, weight, null), head, null, [1, 2, 3]);
        Assert.Contains("IsRecording", Assert.Throws<ArgumentException>(() => tape.Backward(loss)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ParametersOfADisposedModelAreNamed()
    {
        LanguageModel model = new Gpt2Config { VocabularySize = 7, ContextLength = 8, HiddenSize = 12, Layers = 1, Heads = 2 }.Create(new Initializer(device, 5));
        Parameter parameter = model.Parameters[0];
        model.Dispose();
        foreach (Action use in (Action[])[() => parameter.ToArray(), () => tape.Detach(parameter), () => parameter.Load(new float[parameter.Length]), () => model.Loss(tape, [1], [2], 1)])
            Assert.Contains("after its model was disposed", Assert.Throws<ObjectDisposedException>(use).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TensorsOfADisposedDeviceAreGone()
    {
        var other = new CpuDevice(1);
        var parameter = new Parameter(other, "p", 2, 2);
        other.Fill(parameter.Data, 1);
        var theirs = new Tape(other);
        Tensor y = theirs.Linear(parameter, parameter, null);
        other.Dispose();
        Assert.Contains("device cpu was disposed", Assert.Throws<ObjectDisposedException>(y.ToArray).Message, StringComparison.Ordinal);
        Assert.Contains("'p' (2×2) is read after its device cpu was disposed", Assert.Throws<ObjectDisposedException>(parameter.ToArray).Message, StringComparison.Ordinal);
        theirs.Dispose();
    }

    [Fact]
    public void ShapesMakeTheElementsOfTheirMemory()
    {
        Block six = tape.Scratch(6);
        Assert.Contains("2×4 has 8 elements, not the 6", Assert.Throws<ArgumentException>(() => new Tensor(device, six, 2, 4)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => new Tensor(device, six, -2, -3));
        Assert.Throws<ArgumentException>(() => new Tensor(device, six));
        Assert.Equal((1, 1, 1L), Sizes(new Tensor(device, tape.Scratch(1))));
        Assert.Equal((6, 1, 6L), Sizes(new Tensor(device, six, 2, 3, 1)));
        Assert.Equal((2, 0, 0L), Sizes(new Tensor(device, tape.Scratch(0), 2, 0)));
        Assert.Equal((0, 3, 0L), Sizes(new Tensor(device, tape.Scratch(0), 0, 3)));
        Assert.Contains("2×3", Assert.Throws<InvalidOperationException>(() => new Tensor(device, six, 2, 3).Item()).Message, StringComparison.Ordinal);

        static (int Rows, int Columns, long Length) Sizes(Tensor tensor) => (tensor.Rows, tensor.Columns, tensor.Length);
    }

    public void Dispose()
    {
        tape.Dispose();
        device.Dispose();
    }

    private Parameter Normal(string name, params int[] shape)
    {
        var parameter = new Parameter(device, name, shape);
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, (ulong)name.Length);
        return parameter;
    }
}
