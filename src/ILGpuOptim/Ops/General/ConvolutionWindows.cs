using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The windows that a convolution or a pooling moves over padded images.</summary>
/// <param name="Images">N.</param>
/// <param name="Channels">C.</param>
/// <param name="Height">Of a padded image.</param>
/// <param name="Width">Of a padded image.</param>
/// <param name="KernelHeight">Taps of a window, from top to bottom.</param>
/// <param name="KernelWidth">Taps of a window, from left to right.</param>
/// <param name="Stride">Elements from one window to the next.</param>
/// <param name="Dilation">Elements from one tap to the next.</param>
internal sealed record ConvolutionWindows(int Images, int Channels, int Height, int Width, int KernelHeight, int KernelWidth, Extent Stride, Extent Dilation)
{
    /// <summary>How many windows lie below each other.</summary>
    public int OutputHeight { get; } = (Height - Dilation.Height * (KernelHeight - 1) - 1) / Stride.Height + 1;

    /// <summary>How many windows lie beside each other.</summary>
    public int OutputWidth { get; } = (Width - Dilation.Width * (KernelWidth - 1) - 1) / Stride.Width + 1;

    /// <summary>Taps of a window.</summary>
    public int Taps => KernelHeight * KernelWidth;

    /// <summary>Windows of an image.</summary>
    public long Windows => (long)OutputHeight * OutputWidth;

    /// <summary>Checks sizes for an operation over padded images of shape N×C×H×W.</summary>
    /// <exception cref="ArgumentException">The window does not fit, or the images have another number of axes.</exception>
    public static ConvolutionWindows Over(string operation, Tensor x, int kernelHeight, int kernelWidth, Extent stride, Extent padding, Extent dilation)
    {
        if (x.Shape.Count != 4)
            throw new ArgumentException($"{operation}: images are batch × channels × height × width, not {x.Text()}", nameof(x));
        if (kernelHeight < 1 || kernelWidth < 1 || stride.Height < 1 || stride.Width < 1 || dilation.Height < 1 || dilation.Width < 1 || padding.Height < 0 || padding.Width < 0)
            throw new ArgumentOutOfRangeException(nameof(stride), $"{operation}: a window of {kernelHeight}×{kernelWidth}, stride {stride}, dilation {dilation} and padding {padding}: windows, strides and dilations are at least 1, paddings at least 0");
        long height = x.Shape[2] + 2L * padding.Height, width = x.Shape[3] + 2L * padding.Width;
        if (height > int.MaxValue || width > int.MaxValue || (kernelHeight - 1L) * dilation.Height >= height || (kernelWidth - 1L) * dilation.Width >= width)
            throw new ArgumentException($"{operation}: a window of {kernelHeight}×{kernelWidth} (dilation {dilation}) does not fit images of {x.Shape[2]}×{x.Shape[3]} with padding {padding}");
        return new ConvolutionWindows(x.Shape[0], x.Shape[1], (int)height, (int)width, kernelHeight, kernelWidth, stride, dilation);
    }

    /// <summary>Images with a border, or themselves when there is none.</summary>
    public static Tensor Padded(Tape tape, Tensor x, Extent padding, float value) =>
        padding is { Height: 0, Width: 0 } ? tape.Wide(x) : tape.Pad(x, [(padding.Height, padding.Height), (padding.Width, padding.Width)], value);

    /// <summary>Every tap of every window: target[c, tap, image, window], for some of the images.</summary>
    public void Gather(Device device, in Block images, int first, int count, in Block target)
    {
        long windows = count * Windows;
        device.CopyStrided(images, (long)first * Channels * Height * Width, target, 0,
        [
            new StridedAxis(Channels, (long)Height * Width, Taps * windows),
            new StridedAxis(KernelHeight, (long)Dilation.Height * Width, KernelWidth * windows),
            new StridedAxis(KernelWidth, Dilation.Width, windows),
            new StridedAxis(count, (long)Channels * Height * Width, Windows),
            new StridedAxis(OutputHeight, (long)Stride.Height * Width, OutputWidth),
            new StridedAxis(OutputWidth, Stride.Width, 1),
        ]);
    }

    /// <summary>The transpose of <see cref="Gather"/>: adds every tap of every window to its place. One tap of all windows at a time, so that each place has one writer.</summary>
    public void Scatter(Device device, in Block source, int first, int count, in Block images)
    {
        long windows = count * Windows;
        for (int tap = 0; tap < Taps; tap++)
            AddTap(device, source, tap * windows, Taps * windows, Windows, first, count, tap, images);
    }

    /// <summary>Adds one number for each channel and window to that window's element under a tap.</summary>
    /// <param name="device">Where the blocks are.</param>
    /// <param name="source">Windows of an image are neighbours.</param>
    /// <param name="start">The source's first element.</param>
    /// <param name="channelStride">From one channel to the next.</param>
    /// <param name="imageStride">From one image to the next.</param>
    /// <param name="first">The first image.</param>
    /// <param name="count">How many images.</param>
    /// <param name="tap">The tap.</param>
    /// <param name="images">What is added to.</param>
    public void AddTap(Device device, in Block source, long start, long channelStride, long imageStride, int first, int count, int tap, in Block images)
    {
        long target = (long)first * Channels * Height * Width + Offset(tap);
        device.CopyStrided(source, start, images, target,
        [
            new StridedAxis(count, imageStride, (long)Channels * Height * Width),
            new StridedAxis(Channels, channelStride, (long)Height * Width),
            new StridedAxis(OutputHeight, OutputWidth, (long)Stride.Height * Width),
            new StridedAxis(OutputWidth, 1, Stride.Width),
        ],
        accumulate: true);
    }

    /// <summary>The element under a tap of every window: target[image, c, window].</summary>
    public void GatherTap(Device device, in Block images, int tap, in Block target, bool accumulate) =>
        device.CopyStrided(images, Offset(tap), target, 0,
        [
            new StridedAxis((long)Images * Channels, (long)Height * Width, Windows),
            new StridedAxis(OutputHeight, (long)Stride.Height * Width, OutputWidth),
            new StridedAxis(OutputWidth, Stride.Width, 1),
        ],
        accumulate);

    private long Offset(int tap) => (long)(tap / KernelWidth) * Dilation.Height * Width + (long)(tap % KernelWidth) * Dilation.Width;
}

/// <summary>A number for each axis of an image.</summary>
/// <param name="Height">From top to bottom.</param>
/// <param name="Width">From left to right.</param>
public readonly record struct Extent(int Height, int Width)
{
    /// <summary>The same for both axes.</summary>
    public static implicit operator Extent(int both) => new(both, both);

    /// <inheritdoc/>
    public override string ToString() => Height == Width ? $"{Height}" : $"{Height}×{Width}";
}
