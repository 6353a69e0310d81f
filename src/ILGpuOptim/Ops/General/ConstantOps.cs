using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>New tensors. They live until the tape is reset, and require no gradient.</summary>
public static class ConstantOps
{
    /// <summary>Copies values from the host.</summary>
    /// <param name="tape">The tape that allocates the result.</param>
    /// <param name="values">The elements, row-major.</param>
    /// <param name="shape">The sizes. None makes a scalar of one value and a vector of several.</param>
    /// <exception cref="ArgumentException">The number of elements differs.</exception>
    public static Tensor Constant(this Tape tape, ReadOnlySpan<float> values, params ReadOnlySpan<int> shape)
    {
        if (shape.IsEmpty && values.Length != 1)
            shape = [values.Length];
        if (HasNegative(shape) || Shapes.Length(Shapes.Result("Constant", shape.ToArray())) != values.Length)
            throw new ArgumentException($"Constant: {values.Length} values do not fill {Shapes.Text(shape)}", nameof(shape));
        Tensor output = tape.Output(shape);
        tape.Device.Upload(values, output.Data);
        return output;
    }

    /// <summary>A tensor filled with one value.</summary>
    public static Tensor Full(this Tape tape, float value, params ReadOnlySpan<int> shape)
    {
        Tensor output = tape.New("Full", shape);
        tape.Device.Fill(output.Data, value);
        return output;
    }

    /// <summary>Zeros.</summary>
    public static Tensor Zeros(this Tape tape, params ReadOnlySpan<int> shape) => tape.Full(0, shape);

    /// <summary>Ones.</summary>
    public static Tensor Ones(this Tape tape, params ReadOnlySpan<int> shape) => tape.Full(1, shape);

    /// <summary>0, 1, … as a vector.</summary>
    public static Tensor Arange(this Tape tape, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = i;
        return tape.Constant(values, count);
    }

    /// <summary>Normally distributed values from the tape's seed and its next stream.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The mean is not finite, or the standard deviation is not finite or negative.</exception>
    public static Tensor RandomNormal(this Tape tape, float mean, float standardDeviation, params ReadOnlySpan<int> shape)
    {
        Scalars.Finite("RandomNormal", mean);
        Scalars.NotNegative("RandomNormal", standardDeviation);
        Tensor output = tape.New("RandomNormal", shape);
        tape.Device.Random(output.Data, RandomKind.Normal, standardDeviation, tape.Seed, tape.RandomStream++);
        return tape.Shifted(output, mean);
    }

    /// <summary>Values distributed uniformly in [<paramref name="low"/>, <paramref name="high"/>) from the tape's seed and its next stream.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The difference of the limits is negative or not finite.</exception>
    public static Tensor RandomUniform(this Tape tape, float low, float high, params ReadOnlySpan<int> shape)
    {
        if (!(low <= high) || !float.IsFinite(high - low))
            throw new ArgumentOutOfRangeException(nameof(high), high, $"RandomUniform: low is {low} and high is {high}; high - low must be finite and at least 0");
        Tensor output = tape.New("RandomUniform", shape);
        tape.Device.Random(output.Data, RandomKind.Uniform, high - low, tape.Seed, tape.RandomStream++);
        return tape.Shifted(output, low);
    }

    private static Tensor New(this Tape tape, string operation, ReadOnlySpan<int> shape)
    {
        if (HasNegative(shape))
            throw new ArgumentOutOfRangeException(nameof(shape), $"{operation}: {Shapes.Text(shape)} has a negative size");
        return tape.Output(Shapes.Result(operation, shape.ToArray()));
    }

    private static bool HasNegative(ReadOnlySpan<int> shape)
    {
        foreach (int size in shape)
        {
            if (size < 0)
                return true;
        }

        return false;
    }

    private static Tensor Shifted(this Tape tape, Tensor x, float by)
    {
        if (by == 0)
            return x;
        Block shift = tape.Values([by]);
        tape.Device.Map(new AddRule(), 1, x.Length, x.Data, Operand.Scalar(shift));
        tape.Release(shift);
        return x;
    }
}
