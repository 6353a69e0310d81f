using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The windows of a convolution or pooling over padded images.</summary>
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
    /// <summary>The number of windows below each other.</summary>
    public int OutputHeight { get; } = (Height - Dilation.Height * (KernelHeight - 1) - 1) / Stride.Height + 1;

    /// <summary>The number of windows beside each other.</summary>
    public int OutputWidth { get; } = (Width - Dilation.Width * (KernelWidth - 1) - 1) / Stride.Width + 1;

    /// <summary>Taps of a window.</summary>
    public int Taps => KernelHeight * KernelWidth;

    /// <summary>Windows of an image.</summary>
    public long Windows => (long)OutputHeight * OutputWidth;

    /// <summary>Checks sizes for an operation over padded images of shape N×C×H×W.</summary>
    /// <exception cref="ArgumentException">The window does not fit, or the images have another number of axes.</exception>
    public static ConvolutionWindows Over(string operation, Tensor x, int kernelHeight, int kernelWidth, Extent stride, Extent padding, Extent dilation)
    {
        Shapes.NotNull(operation, x);
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

    /// <summary>All windows.</summary>
    public WindowRange All => new(0, Images, 0, OutputHeight);

    /// <summary>The first range of at most so many windows: whole images or, where not even one fits, rows of windows of one image, at least one row.</summary>
    public WindowRange First(long most) =>
        new(0, (int)Math.Clamp(most / Math.Max(1, Windows), 1, Math.Max(1, Images)), 0, (int)Math.Clamp(most / OutputWidth, 1, OutputHeight));

    /// <summary>All windows, in ranges of the size of the first or, at the ends, less.</summary>
    public IEnumerable<WindowRange> Ranges(WindowRange first)
    {
        for (int image = 0; image < Images; image += first.Images)
        {
            for (int row = 0; row < OutputHeight; row += first.Rows)
                yield return new(image, Math.Min(first.Images, Images - image), row, Math.Min(first.Rows, OutputHeight - row));
        }
    }

    /// <summary>The number of windows of a range.</summary>
    public long Count(WindowRange range) => (long)range.Images * range.Rows * OutputWidth;

    /// <summary>Every tap of every window: target[c, tap, image, window].</summary>
    public void Gather(Device device, in Block images, WindowRange range, in Block target)
    {
        long windows = Count(range);
        device.CopyStrided(images, Start(range), target, 0,
        [
            new StridedAxis(Channels, (long)Height * Width, Taps * windows),
            new StridedAxis(KernelHeight, (long)Dilation.Height * Width, KernelWidth * windows),
            new StridedAxis(KernelWidth, Dilation.Width, windows),
            new StridedAxis(range.Images, (long)Channels * Height * Width, (long)range.Rows * OutputWidth),
            new StridedAxis(range.Rows, (long)Stride.Height * Width, OutputWidth),
            new StridedAxis(OutputWidth, Stride.Width, 1),
        ]);
    }

    /// <summary>The transpose of <see cref="Gather"/>: adds every tap of every window to its element. One tap of all windows per launch, so that each element has one writer.</summary>
    public void Scatter(Device device, in Block source, WindowRange range, in Block images)
    {
        long windows = Count(range);
        for (int tap = 0; tap < Taps; tap++)
            AddTap(device, source, tap * windows, Taps * windows, (long)range.Rows * OutputWidth, range, tap, images);
    }

    /// <summary>Adds one value per channel and window to the window's element under a tap.</summary>
    /// <param name="device">The device of the blocks.</param>
    /// <param name="source">The windows of an image are contiguous.</param>
    /// <param name="start">The source's first element.</param>
    /// <param name="channelStride">From one channel to the next.</param>
    /// <param name="imageStride">From one image to the next.</param>
    /// <param name="range">The windows.</param>
    /// <param name="tap">The tap.</param>
    /// <param name="images">The target.</param>
    public void AddTap(Device device, in Block source, long start, long channelStride, long imageStride, WindowRange range, int tap, in Block images)
    {
        device.CopyStrided(source, start, images, Start(range) + Offset(tap),
        [
            new StridedAxis(range.Images, imageStride, (long)Channels * Height * Width),
            new StridedAxis(Channels, channelStride, (long)Height * Width),
            new StridedAxis(range.Rows, OutputWidth, (long)Stride.Height * Width),
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

    /// <summary>The element of an image under the first tap of a range's first window.</summary>
    private long Start(WindowRange range) => ((long)range.FirstImage * Channels * Height + (long)range.FirstRow * Stride.Height) * Width;

    private long Offset(int tap) => (long)(tap / KernelWidth) * Dilation.Height * Width + (long)(tap % KernelWidth) * Dilation.Width;
}

/// <summary>Some rows of windows of some images; all rows where there is more than one image.</summary>
/// <param name="FirstImage">The first image.</param>
/// <param name="Images">The number of images.</param>
/// <param name="FirstRow">The first row of windows of an image.</param>
/// <param name="Rows">The number of rows.</param>
internal readonly record struct WindowRange(int FirstImage, int Images, int FirstRow, int Rows);

/// <summary>A value for each axis of an image.</summary>
/// <param name="Height">From top to bottom.</param>
/// <param name="Width">From left to right.</param>
public readonly record struct Extent(int Height, int Width)
{
    /// <summary>The same value for both axes.</summary>
    public static implicit operator Extent(int both) => new(both, both);

    /// <summary>A pair: <c>stride: (2, 1)</c>.</summary>
    public static implicit operator Extent((int Height, int Width) pair) => new(pair.Height, pair.Width);

    /// <inheritdoc/>
    public override string ToString() => Height == Width ? $"{Height}" : $"{Height}×{Width}";
}
