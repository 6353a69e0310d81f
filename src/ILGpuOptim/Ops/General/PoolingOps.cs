using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Maximum and average pooling.</summary>
public static class PoolingOps
{
    /// <summary>The largest element of each window; NaN where one is NaN. The first of equal largest elements gets the gradient.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Batch × channels × height × width.</param>
    /// <param name="window">Height and width of a window.</param>
    /// <param name="stride">Elements from one window to the next; null for the window's size.</param>
    /// <param name="padding">Elements around an image that are never chosen, at most half a window.</param>
    /// <param name="dilation">Elements from one tap of a window to the next; null for 1.</param>
    /// <returns>Batch × channels × output height × output width.</returns>
    /// <exception cref="ArgumentException">The window does not fit.</exception>
    public static Tensor MaxPool2d(this Tape tape, Tensor x, Extent window, Extent? stride = null, Extent? padding = null, Extent? dilation = null) =>
        tape.MaxPool("MaxPool2d", x, window, stride ?? window, padding ?? 0, dilation ?? 1);

    /// <summary>As <see cref="MaxPool2d"/> over batch × channels × length.</summary>
    public static Tensor MaxPool1d(this Tape tape, Tensor x, int window, int? stride = null, int padding = 0, int dilation = 1) =>
        tape.Squeeze(tape.MaxPool("MaxPool1d", Image("MaxPool1d", tape, x), new(1, window), new(1, stride ?? window), new(0, padding), new(1, dilation)), 2);

    /// <summary>The mean of each window; elements of the padding count as zeros.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Batch × channels × height × width.</param>
    /// <param name="window">Height and width of a window.</param>
    /// <param name="stride">Elements from one window to the next; null for the window's size.</param>
    /// <param name="padding">Zeros around an image, at most half a window.</param>
    /// <returns>Batch × channels × output height × output width.</returns>
    /// <exception cref="ArgumentException">The window does not fit.</exception>
    public static Tensor AvgPool2d(this Tape tape, Tensor x, Extent window, Extent? stride = null, Extent? padding = null) =>
        tape.AvgPool("AvgPool2d", x, window, stride ?? window, padding ?? 0);

    /// <summary>As <see cref="AvgPool2d"/> over batch × channels × length.</summary>
    public static Tensor AvgPool1d(this Tape tape, Tensor x, int window, int? stride = null, int padding = 0) =>
        tape.Squeeze(tape.AvgPool("AvgPool1d", Image("AvgPool1d", tape, x), new(1, window), new(1, stride ?? window), new(0, padding)), 2);

    private static Tensor Image(string operation, Tape tape, Tensor x) =>
        x.Shape.Count == 3 ? tape.Unsqueeze(x, 2) : throw new ArgumentException($"{operation}: {x.Text()} is not batch × channels × length", nameof(x));

    private static ConvolutionWindows Windows(string operation, Tensor x, Extent window, Extent stride, Extent padding, Extent dilation)
    {
        var windows = ConvolutionWindows.Over(operation, x, window.Height, window.Width, stride, padding, dilation);
        if (padding.Height > window.Height / 2 || padding.Width > window.Width / 2)
            throw new ArgumentException($"{operation}: a padding of {padding} is more than half a window of {window}", nameof(padding));
        return windows;
    }

    private static Tensor MaxPool(this Tape tape, string operation, Tensor x, Extent window, Extent stride, Extent padding, Extent dilation)
    {
        ConvolutionWindows windows = Windows(operation, x, window, stride, padding, dilation);
        x = ConvolutionWindows.Padded(tape, x, padding, float.NegativeInfinity);
        Tensor output = tape.Output([windows.Images, windows.Channels, windows.OutputHeight, windows.OutputWidth], x);
        Block place = tape.Scratch(output.Length), taps = tape.Scratch(windows.Taps * output.Length);
        if (output.Length > 0)
        {
            for (int tap = 0; tap < windows.Taps; tap++)
                windows.GatherTap(tape.Device, x.Data, tap, taps.Slice(tap * output.Length, output.Length), accumulate: false);
            ExtremeOp.Largest(tape, taps, windows.Taps, output.Length, Operand.PerColumn(output.Data), 1);
            if (output.RequiresGradient)
                ExtremeOp.FirstIndex(tape, taps, windows.Taps, output.Length, Operand.PerColumn(output.Data), place);
        }

        tape.Release(taps);
        if (!output.RequiresGradient)
            tape.Release(place);
        tape.Record(new MaxGradient(output, x, windows, place));
        return output;
    }

    private static Tensor AvgPool(this Tape tape, string operation, Tensor x, Extent window, Extent stride, Extent padding)
    {
        ConvolutionWindows windows = Windows(operation, x, window, stride, padding, 1);
        x = ConvolutionWindows.Padded(tape, x, padding, 0);
        Tensor output = tape.Output([windows.Images, windows.Channels, windows.OutputHeight, windows.OutputWidth], x);
        for (int tap = 0; tap < windows.Taps && output.Length > 0; tap++)
            windows.GatherTap(tape.Device, x.Data, tap, output.Data, accumulate: tap > 0);
        tape.Device.Map(new ScaleRule(1f / windows.Taps), 1, output.Length, output.Data);
        tape.Record(new AvgGradient(output, x, windows));
        return output;
    }

    private static Block Zeroed(Tape tape, Tensor x)
    {
        Block target = tape.GradientOf(x, out float beta);
        if (beta == 0)
            tape.Device.Fill(target, 0);
        return target;
    }

    private sealed class MaxGradient(Tensor output, Tensor x, ConvolutionWindows windows, Block place) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block target = Zeroed(tape, x), gradient = Output.Gradient!.Value, chosen = tape.Scratch(gradient.Length);
            for (int tap = 0; tap < windows.Taps && gradient.Length > 0; tap++)
            {
                tape.Device.Map(new ChosenRule(tap), 1, gradient.Length, place, gradient, chosen);
                windows.AddTap(tape.Device, chosen, 0, windows.Windows, windows.Channels * windows.Windows, windows.All, tap, target);
            }

            tape.Release(chosen);
            tape.Release(place);
        }
    }

    private sealed class AvgGradient(Tensor output, Tensor x, ConvolutionWindows windows) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block target = Zeroed(tape, x), gradient = Output.Gradient!.Value;
            tape.Device.Map(new ScaleRule(1f / windows.Taps), 1, gradient.Length, gradient);
            for (int tap = 0; tap < windows.Taps && gradient.Length > 0; tap++)
                windows.AddTap(tape.Device, gradient, 0, windows.Windows, windows.Channels * windows.Windows, windows.All, tap, target);
        }
    }

    /// <summary>The gradient where a tap was chosen, else 0.</summary>
    private readonly struct ChosenRule(float tap) : IMap3
    {
        private readonly float tap = tap;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L place, ref L gradient, ref L chosen) where L : struct, ILane<L> =>
            chosen = L.Select(L.Equal(place, L.Splat(tap)), gradient, L.Splat(0));
    }
}
