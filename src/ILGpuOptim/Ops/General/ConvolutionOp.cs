using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Convolutions (cross-correlations, as usual in the field), computed as matrix products over gathered windows (im2col).</summary>
public static class ConvolutionOp
{
    /// <summary>Two-dimensional convolution: each output is the sum of inputs times weights over a window and the input channels of its group.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Batch × channels × height × width.</param>
    /// <param name="weight">Outputs × (channels / groups) × kernel height × kernel width.</param>
    /// <param name="bias">Outputs, or null.</param>
    /// <param name="stride">Elements from one window to the next; null for 1.</param>
    /// <param name="padding">Zeros around an image; null for none.</param>
    /// <param name="dilation">Elements from one tap of a window to the next; null for 1.</param>
    /// <param name="groups">The number of groups of input and output channels; outputs of a group read its inputs only.</param>
    /// <returns>Batch × outputs × output height × output width.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public static Tensor Conv2d(this Tape tape, Tensor x, Tensor weight, Tensor? bias = null, Extent? stride = null, Extent? padding = null, Extent? dilation = null, int groups = 1)
    {
        Shapes.NotNull("Conv2d", weight);
        if (weight.Shape.Count != 4)
            throw new ArgumentException($"Conv2d: a weight is outputs × (channels / groups) × height × width, not {weight.Text()}", nameof(weight));
        return tape.Convolve("Conv2d", x, weight, bias, stride ?? 1, padding ?? 0, dilation ?? 1, groups);
    }

    /// <summary>One-dimensional convolution; otherwise as <see cref="Conv2d"/>.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Batch × channels × length.</param>
    /// <param name="weight">Outputs × (channels / groups) × kernel length.</param>
    /// <param name="bias">Outputs, or null.</param>
    /// <param name="stride">Elements from one window to the next.</param>
    /// <param name="padding">Zeros before and after.</param>
    /// <param name="dilation">Elements from one tap of a window to the next.</param>
    /// <param name="groups">The number of groups of input and output channels; outputs of a group read its inputs only.</param>
    /// <returns>Batch × outputs × output length.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public static Tensor Conv1d(this Tape tape, Tensor x, Tensor weight, Tensor? bias = null, int stride = 1, int padding = 0, int dilation = 1, int groups = 1)
    {
        Shapes.NotNull("Conv1d", x);
        Shapes.NotNull("Conv1d", weight);
        if (x.Shape.Count != 3 || weight.Shape.Count != 3)
            throw new ArgumentException($"Conv1d: {x.Text()} and {weight.Text()} are not batch × channels × length and outputs × (channels / groups) × length");
        Tensor y = tape.Convolve("Conv1d", tape.Unsqueeze(x, 2), tape.Unsqueeze(weight, 2), bias, new(1, stride), new(0, padding), new(1, dilation), groups);
        return tape.Squeeze(y, 2);
    }

    private static Tensor Convolve(this Tape tape, string operation, Tensor x, Tensor weight, Tensor? bias, Extent stride, Extent padding, Extent dilation, int groups)
    {
        var windows = ConvolutionWindows.Over(operation, x, weight.Shape[2], weight.Shape[3], stride, padding, dilation);
        int outputs = weight.Shape[0];
        if (groups < 1 || windows.Channels % groups != 0 || outputs % groups != 0 || weight.Shape[1] != windows.Channels / groups)
            throw new ArgumentException($"{operation}: images {x.Text()} and weight {weight.Text()} with {groups} groups: the weight must have channels / groups = {windows.Channels} / {groups} channels, and groups must divide channels and outputs");
        if (bias is not null && (bias.Shape.Count != 1 || bias.Shape[0] != outputs))
            throw new ArgumentException($"{operation}: a bias of {bias.Text()} for {outputs} outputs", nameof(bias));
        x = ConvolutionWindows.Padded(tape, x, padding, 0);
        weight = tape.Wide(weight);
        bias = bias is null ? null : tape.Wide(bias);
        Tensor output = tape.Output([windows.Images, outputs, windows.OutputHeight, windows.OutputWidth], x, weight, bias);
        var product = new Product(windows, outputs, groups);
        if (output.Length > 0)
            product.Forward(tape, x.Data, weight.Data, bias?.Data, output.Data);
        tape.Record(new Gradient(output, x, weight, bias, product));
        return output;
    }

    /// <summary>For each group: outputs × windows = (outputs × taps) · (taps × windows), over some windows at a time.</summary>
    private sealed class Product(ConvolutionWindows windows, int outputs, int groups)
    {
        private int Rows => outputs / groups;

        private int Depth => windows.Channels / groups * windows.Taps;

        /// <summary>As many windows as keep the device busy without filling its memory with their taps and results.</summary>
        private WindowRange First(Device device) => windows.First(device.ChunkLength / Math.Max(1, (long)groups * Depth + outputs));

        public void Forward(Tape tape, Block x, Block weight, Block? bias, Block output)
        {
            Device device = tape.Device;
            WindowRange largest = First(device);
            Block taps = tape.Scratch(groups * Depth * windows.Count(largest)), results = tape.Scratch(outputs * windows.Count(largest));
            foreach (WindowRange range in windows.Ranges(largest))
            {
                int columns = (int)windows.Count(range);
                windows.Gather(device, x, range, taps);
                var product = tape.Product(weight, taps, results, Rows, columns, Depth) with
                {
                    Batch = groups,
                    BatchStrideA = (long)Rows * Depth,
                    BatchStrideB = (long)Depth * columns,
                    BatchStrideC = (long)Rows * columns,
                };
                if (bias is { } added)
                    device.Gemm(product, new AddRule(), Operand.PerRow(added));
                else
                    device.Gemm(product);
                device.CopyStrided(results, 0, output, Start(range), Axes(range, toImages: true));
            }

            tape.Release(results);
            tape.Release(taps);
        }

        public void Backward(Tape tape, Tensor x, Tensor weight, Tensor? bias, Block gradient)
        {
            Device device = tape.Device;
            WindowRange largest = First(device);
            Block taps = tape.Scratch(groups * Depth * windows.Count(largest)), results = tape.Scratch(outputs * windows.Count(largest));
            Block images = default;
            if (x.RequiresGradient)
            {
                images = tape.GradientOf(x, out float beta);
                if (beta == 0)
                    device.Fill(images, 0);
            }

            foreach (WindowRange range in windows.Ranges(largest))
            {
                int columns = (int)windows.Count(range);
                device.CopyStrided(gradient, Start(range), results, 0, Axes(range, toImages: false));
                if (bias is { RequiresGradient: true })
                    device.Map(new TotalRule(), outputs, columns, results, tape.GradientTarget(bias, Layout.PerRow));
                if (weight.RequiresGradient)
                {
                    windows.Gather(device, x.Data, range, taps);
                    Block target = tape.GradientOf(weight, out float beta);
                    device.Gemm(tape.Product(results, taps, target, Rows, Depth, columns) with
                    {
                        TransposeB = true,
                        Beta = beta,
                        Batch = groups,
                        BatchStrideA = (long)Rows * columns,
                        BatchStrideB = (long)Depth * columns,
                        BatchStrideC = (long)Rows * Depth,
                    });
                }

                if (!x.RequiresGradient)
                    continue;
                device.Gemm(tape.Product(weight.Data, results, taps, Depth, columns, Rows) with
                {
                    TransposeA = true,
                    Batch = groups,
                    BatchStrideA = (long)Rows * Depth,
                    BatchStrideB = (long)Rows * columns,
                    BatchStrideC = (long)Depth * columns,
                });
                windows.Scatter(device, taps, range, images);
            }

            tape.Release(results);
            tape.Release(taps);
        }

        /// <summary>The element of the output's first window of a range.</summary>
        private long Start(WindowRange range) => range.FirstImage * outputs * windows.Windows + (long)range.FirstRow * windows.OutputWidth;

        /// <summary>The axes of a copy between outputs × images × windows of a range and images × outputs × windows of the output, either way.</summary>
        private StridedAxis[] Axes(WindowRange range, bool toImages)
        {
            long columns = windows.Count(range), some = columns / range.Images, all = windows.Windows;
            return toImages
                ? [new(range.Images, some, outputs * all), new(outputs, columns, all), new(some, 1, 1)]
                : [new(range.Images, outputs * all, some), new(outputs, all, columns), new(some, 1, 1)];
        }
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor weight, Tensor? bias, Product product) : Operation(output, x, weight, bias)
    {
        public override void Backward(Tape tape)
        {
            if (Output.Length > 0)
                product.Backward(tape, x, weight, bias, Output.Gradient!.Value);
        }
    }
}
