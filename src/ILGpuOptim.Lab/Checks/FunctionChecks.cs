using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Lab;

/// <summary>
/// Checks of any differentiable function: equal values and gradients on every device and lane width, gradients that are the derivative of the values,
/// sums over broadcast arguments, and NaN where double precision gives NaN.
/// </summary>
public static class FunctionChecks
{
    private const double Single = 1e-5, Double = 1e-6;

    private static readonly float[] Kinks = [0, 1, -1, 3, -3, 6, -6, 0.5f];
    private static readonly float[] Large = [20, -20, 87, -87, 100, -100, 1e3f, -1e3f, 1e4f, -1e4f];
    private static readonly float[] Specials = [float.NaN, float.PositiveInfinity, float.NegativeInfinity, 0, -0f];

    /// <summary>Every check that this machine can run. Each runs when it is enumerated.</summary>
    public static IEnumerable<Check> All(FunctionEntry entry) =>
        OnProcessor(entry)
            .Concat(((string[])["ptx", "opencl"]).Select(target => Compiles(target, entry)))
            .Concat(((string[])["cuda", "opencl"]).Select(kind => OnGpu(kind, entry)));

    /// <summary>The checks that need no GPU.</summary>
    public static IEnumerable<Check> OnProcessor(FunctionEntry entry)
    {
        using var reference = new ReferenceDevice();
        if (entry.Formula is not null)
            yield return Formula("its formula, in double precision", reference, entry);
        yield return Differences("central differences, in double precision", reference, entry);
        yield return AtKinks("within its one-sided differences at 0, ±½ … ±6", reference, entry);
        yield return AddsUp("its derivative adds up to its change from -6 to 6", reference, entry);
        float[]? first = null;
        foreach (int bits in (int[])[128, 256, 512])
        {
            using var device = new CpuDevice(2, bits);
            if (device.VectorBits != bits)
                continue;
            yield return Follows($"double precision, in {bits}-bit vectors", device, entry);
            float[] numbers = Numbers(device, entry);
            if (first is not null)
                yield return Same($"the same bits in {bits}-bit vectors", first, numbers);
            else
                yield return Same("the same bits in vectors and one by one", numbers, OneByOne(device, entry));
            first ??= numbers;
        }

        using var cpu = new CpuDevice(2);
        yield return NotANumber("NaN and infinity as in double precision", cpu, entry);
        yield return Finite("gradients are finite where values are, up to ±10,000", cpu, entry);
        if (entry.Arguments > 1)
            yield return Broadcasts("gradients of broadcast arguments are sums", cpu, entry);
    }

    /// <summary>Checks that the function compiles for a GPU; this needs no GPU.</summary>
    /// <param name="target">One of <see cref="KernelRecorder.Targets"/>.</param>
    /// <param name="entry">The function.</param>
    public static Check Compiles(string target, FunctionEntry entry)
    {
        string name = $"compiles to {(target == "ptx" ? "PTX" : "OpenCL C")}";
        try
        {
            using var recorder = new KernelRecorder();
            using FunctionRun run = new(recorder.Device, entry, FunctionRun.Points(entry.Arguments, 128, 4));
            recorder.Clear();
            run.Launch();
            int count = recorder.Compile(target).Count;
            return new Check(name, 0, 0, $"{count} kernels");
        }
        catch (Exception e)
        {
            // The compiler throws many exception types.
            return new Check(name, double.NaN, 0, (e.InnerException ?? e).Message);
        }
    }

    /// <summary>Compares a kind of GPU with double precision; skipped if there is no such GPU.</summary>
    /// <param name="kind"><c>cuda</c> or <c>opencl</c>, or one by its number such as <c>cuda:1</c>.</param>
    /// <param name="entry">The function.</param>
    public static Check OnGpu(string kind, FunctionEntry entry)
    {
        try
        {
            using Device device = Devices.Open(kind);
            return Follows($"double precision, on {device.Name}", device, entry);
        }
        catch (DeviceException e)
        {
            return new Check(kind, 0, 0, e.Message) { IsSkipped = true };
        }
    }

    /// <summary>Compares values and gradients of a device with double precision.</summary>
    public static Check Follows(string name, Device device, FunctionEntry entry)
    {
        using var reference = new ReferenceDevice();
        var worst = new WorstOf(name, Single);
        float[][] points = FunctionRun.Points(entry.Arguments, 1031, 4);
        using FunctionRun right = new(reference, entry, points), run = new(device, entry, points);
        for (int i = 0; i < points[0].Length; i++)
        {
            worst.Add(run.Values[i], right.Values[i], $"f({run.At(i)})");
            for (int k = 0; k < entry.Arguments; k++)
                worst.Add(run.Gradients[k][i], right.Gradients[k][i], $"the derivative by argument {k + 1} at {run.At(i)}");
        }

        return worst.Check;
    }

    private static Check Formula(string name, ReferenceDevice device, FunctionEntry entry)
    {
        var worst = new WorstOf(name, Double);
        using FunctionRun run = new(device, entry, FunctionRun.Points(entry.Arguments, 257, 4));
        for (int i = 0; i < run.Values.Length; i++)
            worst.Add(run.Values[i], entry.Formula!([.. run.Arguments.Select(argument => (double)argument[i])]), $"f({run.At(i)})");
        return worst.Check;
    }

    private static Check Differences(string name, ReferenceDevice device, FunctionEntry entry)
    {
        var worst = new WorstOf(name, Double);
        using FunctionRun run = new(device, entry, FunctionRun.Points(entry.Arguments, 257, 4));
        for (int k = 0; k < entry.Arguments; k++)
        {
            double[] above = run.Shifted(k, 1e-5), below = run.Shifted(k, -1e-5);
            for (int i = 0; i < above.Length; i++)
                worst.Add(run.Gradients[k][i], (above[i] - below[i]) / 2e-5, $"the derivative by argument {k + 1} at {run.At(i)}");
        }

        return worst.Check;
    }

    /// <summary>At a kink, the derivative may be any value between the one-sided derivatives.</summary>
    private static Check AtKinks(string name, ReferenceDevice device, FunctionEntry entry)
    {
        var worst = new WorstOf(name, 1e-4);
        for (int k = 0; k < entry.Arguments; k++)
        {
            using FunctionRun run = new(device, entry, FunctionRun.With(entry.Arguments, k, Kinks));
            double[] above = run.Shifted(k, 1e-6), below = run.Shifted(k, -1e-6);
            for (int i = 0; i < above.Length; i++)
            {
                double right = (above[i] - run.Values[i]) / 1e-6, left = (run.Values[i] - below[i]) / 1e-6;
                double nearest = Math.Clamp(run.Gradients[k][i], Math.Min(left, right), Math.Max(left, right));
                worst.Add(run.Gradients[k][i], nearest, $"the derivative by argument {k + 1} at {run.At(i)}");
            }
        }

        return worst.Check;
    }

    /// <summary>The integral of the derivative must equal the change of the function; a function with jumps fails.</summary>
    private static Check AddsUp(string name, ReferenceDevice device, FunctionEntry entry)
    {
        const int Cells = 4001;
        var worst = new WorstOf(name, 1e-2);
        for (int k = 0; k < entry.Arguments; k++)
        {
            // Cells of odd number between ends that are no kinks; the middle of each stands for it.
            float[] grid = [.. Enumerable.Range(0, Cells).Select(i => -6.01f + 12.02f * (i + 0.5f) / Cells)];
            using FunctionRun run = new(device, entry, FunctionRun.With(entry.Arguments, k, grid, same: true));
            double sum = 0, length = 0;
            for (int i = 1; i < Cells; i++)
            {
                double step = (double)grid[i] - grid[i - 1], part = step * (run.Gradients[k][i] + run.Gradients[k][i - 1]) / 2;
                sum += part;
                length += Math.Abs(part);
            }

            worst.Add(sum / Math.Max(1, length), (run.Values[^1] - run.Values[0]) / Math.Max(1, length), $"the integral of the derivative by argument {k + 1}");
        }

        return worst.Check;
    }

    private static Check NotANumber(string name, Device device, FunctionEntry entry)
    {
        using var reference = new ReferenceDevice();
        var worst = new WorstOf(name, Single);
        for (int k = 0; k < entry.Arguments; k++)
        {
            float[][] points = FunctionRun.With(entry.Arguments, k, Specials);
            using FunctionRun right = new(reference, entry, points), run = new(device, entry, points);
            for (int i = 0; i < run.Values.Length; i++)
                worst.Add(run.Values[i], right.Values[i], $"f({run.At(i)})");
            if (entry.Arguments == 1 && !double.IsNaN(run.Values[0]))
                worst.Fail($"f(NaN) = {run.Values[0]}: a run that has diverged would look well. Min, Max and Select return their last operand where the first is NaN");
        }

        return worst.Check;
    }

    private static Check Finite(string name, Device device, FunctionEntry entry)
    {
        var worst = new WorstOf(name, 0);
        for (int k = 0; k < entry.Arguments; k++)
        {
            using FunctionRun run = new(device, entry, FunctionRun.With(entry.Arguments, k, Large));
            for (int i = 0; i < run.Values.Length; i++)
            {
                for (int j = 0; j < entry.Arguments; j++)
                {
                    if (double.IsFinite(run.Values[i]) && double.IsNaN(run.Gradients[j][i]))
                        worst.Fail($"f({run.At(i)}) = {run.Values[i]:G4}, but its derivative by argument {j + 1} is NaN; keep arguments of Exp below 88 with Min(88, x)");
                }
            }
        }

        return worst.Check;
    }

    private static Check Broadcasts(string name, Device device, FunctionEntry entry)
    {
        const int Rows = 37, Columns = 29;
        var worst = new WorstOf(name, Single);
        for (int k = 0; k < entry.Arguments; k++)
        {
            foreach (int[] shape in (int[][])[[Columns], [Rows, 1], [1]])
            {
                // All arguments are whole but one, whose numbers repeat: its gradient must be the sum of the gradients of the copies.
                float[][] points = FunctionRun.Points(entry.Arguments, Rows * Columns, 2), repeated = [.. points];
                int width = shape[^1], length = shape.Aggregate(1, (product, size) => product * size);
                repeated[k] = points[k][..length];
                int Of(int i) => length == 1 ? 0 : width == 1 ? i / Columns : i % Columns;
                points[k] = [.. Enumerable.Range(0, Rows * Columns).Select(i => repeated[k][Of(i)])];
                using FunctionRun right = new(device, entry, points, [Rows, Columns]), run = new(device, entry, repeated, [Rows, Columns], k, shape);
                double[] sums = new double[length], sizes = new double[length];
                for (int i = 0; i < Rows * Columns; i++)
                {
                    sums[Of(i)] += right.Gradients[k][i];
                    sizes[Of(i)] += Math.Abs(right.Gradients[k][i]);
                }

                for (int i = 0; i < length; i++)
                    worst.Add(run.Gradients[k][i] / Math.Max(1, sizes[i]), sums[i] / Math.Max(1, sizes[i]), $"argument {k + 1} of shape {string.Join('×', shape)}, element {i}");
            }
        }

        return worst.Check;
    }

    /// <summary>Values and gradients, one after the other.</summary>
    private static float[] Numbers(Device device, FunctionEntry entry)
    {
        using FunctionRun run = new(device, entry, FunctionRun.Points(entry.Arguments, 160, 4));
        return [.. run.Values.Concat(run.Gradients.SelectMany(gradient => gradient)).Select(value => (float)value)];
    }

    /// <summary>The same from launches of one element, which no vector computes.</summary>
    private static float[] OneByOne(Device device, FunctionEntry entry)
    {
        float[][] points = FunctionRun.Points(entry.Arguments, 160, 4);
        var values = new float[160 * (1 + entry.Arguments)];
        for (int i = 0; i < 160; i++)
        {
            using FunctionRun run = new(device, entry, [.. points.Select(argument => argument[i..(i + 1)])]);
            values[i] = (float)run.Values[0];
            for (int k = 0; k < entry.Arguments; k++)
                values[160 * (k + 1) + i] = (float)run.Gradients[k][0];
        }

        return values;
    }

    private static Check Same(string name, float[] left, float[] right)
    {
        int differ = left.Zip(right).Count(pair => BitConverter.SingleToInt32Bits(pair.First) != BitConverter.SingleToInt32Bits(pair.Second));
        return new Check(name, differ, 0, differ == 0 ? null : $"{differ} of {left.Length} values and derivatives differ");
    }

    /// <summary>The largest error of a check, relative to the number where that is above 1.</summary>
    private sealed class WorstOf(string name, double bound)
    {
        private double worst;
        private string? note;

        public Check Check => new(name, worst, bound, note);

        public void Add(double actual, double expected, string what)
        {
            double error = actual.Equals(expected) || (double.IsNaN(actual) && double.IsNaN(expected)) || actual == expected ? 0 : Math.Abs(actual - expected) / Math.Max(1, Math.Abs(expected));
            if (double.IsNaN(worst) || error <= worst)
                return;
            worst = error;
            note = error <= bound ? null : $"{what} is {actual:G6} instead of {expected:G6}";
        }

        public void Fail(string why)
        {
            if (!double.IsNaN(worst))
                (worst, note) = (double.NaN, why);
        }
    }
}
