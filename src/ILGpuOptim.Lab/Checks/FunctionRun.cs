using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Lab;

/// <summary>A function's values and the gradients of their sum at some points.</summary>
internal sealed class FunctionRun : IDisposable
{
    private readonly Device device;
    private readonly FunctionEntry entry;
    private readonly Parameter[] inputs;

    /// <summary>Computes values and gradients.</summary>
    /// <param name="device">The device.</param>
    /// <param name="entry">The function.</param>
    /// <param name="points">The arguments.</param>
    /// <param name="shape">Of each argument; null: a row.</param>
    /// <param name="other">An argument of another shape.</param>
    /// <param name="otherShape">That shape.</param>
    public FunctionRun(Device device, FunctionEntry entry, float[][] points, int[]? shape = null, int other = -1, int[]? otherShape = null)
    {
        (this.device, this.entry, Arguments) = (device, entry, points);
        inputs = new Parameter[points.Length];
        for (int k = 0; k < points.Length; k++)
        {
            inputs[k] = new Parameter(device, $"argument {k + 1}", k == other ? otherShape : shape ?? [points[k].Length]);
            inputs[k].Load(points[k]);
        }

        (Values, Gradients) = Launch();
    }

    /// <summary>The points, argument by argument.</summary>
    public float[][] Arguments { get; }

    /// <summary>The values.</summary>
    public double[] Values { get; }

    /// <summary>The derivatives by each argument; of a broadcast one, their sums.</summary>
    public double[][] Gradients { get; }

    /// <summary>Random points, half of them near zero; the same for every device.</summary>
    /// <param name="arguments">Number of arguments.</param>
    /// <param name="count">Number of points.</param>
    /// <param name="range">Largest magnitude.</param>
    public static float[][] Points(int arguments, int count, double range)
    {
        var random = new Random(17);
        return [.. Enumerable.Range(0, arguments).Select(_ => Enumerable.Range(0, count).Select(i => (float)((2 * random.NextDouble() - 1) * (i % 2 == 0 ? range : range / 4))).ToArray())];
    }

    /// <summary>Chosen values of one argument, beside random ones of the others.</summary>
    /// <param name="arguments">Number of arguments.</param>
    /// <param name="index">The one.</param>
    /// <param name="values">Its values.</param>
    /// <param name="same">True if each other argument has the same value everywhere.</param>
    public static float[][] With(int arguments, int index, float[] values, bool same = false)
    {
        float[][] result = Points(arguments, values.Length, 2);
        foreach (float[] argument in same ? result : [])
            Array.Fill(argument, argument[0]);
        result[index] = values;
        return result;
    }

    /// <summary>The arguments of a point, for messages.</summary>
    public string At(int point) => string.Join(", ", Arguments.Select(argument => argument[point]));

    /// <summary>The values with one argument moved, in double precision.</summary>
    public double[] Shifted(int argument, double step)
    {
        var reference = (ReferenceDevice)device;
        Block data = inputs[argument].Data;
        for (int i = 0; i < data.Length; i++)
            reference[data, i] = Arguments[argument][i] + step;
        using var tape = new Tape(device) { IsRecording = false };
        double[] result = Download(entry.Apply(tape, [.. inputs]).Data);
        for (int i = 0; i < data.Length; i++)
            reference[data, i] = Arguments[argument][i];
        return result;
    }

    /// <summary>Runs the function and its gradient.</summary>
    public (double[] Values, double[][] Gradients) Launch()
    {
        using var tape = new Tape(device);
        Tensor output = entry.Apply(tape, [.. inputs]);
        double[] values = Download(output.Data);
        Tensor sum = tape.Output([1], output);
        tape.Record(new Sum(sum, output));
        tape.Backward(sum);
        return (values, [.. inputs.Select(input => Download(tape.Gradients[input]))]);
    }

    /// <summary>Releases the arguments.</summary>
    public void Dispose()
    {
        foreach (Parameter input in inputs)
            input.Release();
    }

    private double[] Download(in Block block)
    {
        var result = new double[block.Length];
        if (device is ReferenceDevice reference)
        {
            for (int i = 0; i < result.Length; i++)
                result[i] = reference[block, i];
            return result;
        }

        var singles = new float[block.Length];
        device.Download(block, singles);
        for (int i = 0; i < result.Length; i++)
            result[i] = singles[i];
        return result;
    }

    private sealed class Sum(Tensor sum, Tensor input) : Operation(sum, input)
    {
        public override void Backward(Tape tape) => tape.Device.Fill(tape.GradientOf(input, out _), 1);
    }
}
