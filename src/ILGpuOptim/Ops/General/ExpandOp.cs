using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Broadcasting to a given shape.</summary>
public static class ExpandOp
{
    /// <summary>Broadcasts to a given shape: repeats axes of size 1 and inserts axes before the first.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">A shape that can be broadcast.</param>
    /// <param name="shape">The result's sizes; -1 keeps x's.</param>
    /// <exception cref="ArgumentException">x cannot be broadcast to the shape.</exception>
    public static Tensor Expand(this Tape tape, Tensor x, params ReadOnlySpan<int> shape)
    {
        Shapes.NotNull("Expand", x);
        int[] own = x.Sizes(), sizes = shape.ToArray();
        bool fits = own.Length <= sizes.Length;
        for (int k = 1; fits && k <= own.Length; k++)
        {
            if (sizes[^k] == -1)
                sizes[^k] = own[^k];
            fits = own[^k] == 1 || own[^k] == sizes[^k];
        }

        if (!fits || sizes.Any(size => size < 0))
            throw new ArgumentException($"Expand: {x.Text()} cannot be broadcast to {Shapes.Text(shape)}", nameof(shape));
        if (own.AsSpan().SequenceEqual(sizes))
            return x;
        x = tape.Wide(x);
        Tensor output = tape.Output(Shapes.Result("Expand", sizes), x);
        Copy(tape.Device, x.Data, own, output.Data, sizes);
        tape.Record(new Gradient(output, x));
        return output;
    }

    /// <summary>Copies an array of one shape, repeated, into one of a larger shape.</summary>
    internal static void Copy(Device device, in Block source, ReadOnlySpan<int> shape, in Block target, ReadOnlySpan<int> larger)
    {
        if (target.Length > 0)
            device.CopyStrided(source, 0, target, 0, Shapes.CopyAxes(larger, Shapes.BroadcastStrides(shape, larger)));
    }

    /// <summary>Adds an array, broadcast to a tensor's shape, to the tensor's gradient.</summary>
    internal static void AddExpanded(Tape tape, in Block source, ReadOnlySpan<int> shape, Tensor x)
    {
        Block target = tape.GradientOf(x, out float beta);
        int[] sizes = x.Sizes();
        if (x.Length > 0)
            tape.Device.CopyStrided(source, 0, target, 0, Shapes.CopyAxes(sizes, Shapes.BroadcastStrides(shape, sizes)), accumulate: beta != 0);
    }

    /// <summary>Sums a gradient of a larger shape over the axes along which a tensor was repeated, and adds the sums to the tensor's gradient.</summary>
    internal static void AddReduced(Tape tape, in Block gradient, ReadOnlySpan<int> larger, Tensor x)
    {
        var axes = new bool[larger.Length];
        for (int k = 1; k <= axes.Length; k++)
            axes[^k] = k > x.Shape.Count || x.Shape[^k] != larger[^k];
        Reduction.Sum(tape, gradient, larger, axes, tape.GradientTarget(x));
    }

    private sealed class Gradient(Tensor output, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape) => AddReduced(tape, Output.Gradient!.Value, Output.Sizes(), x);
    }
}
