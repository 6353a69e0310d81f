using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

internal static partial class OpCases
{
    private static IEnumerable<KeyValuePair<string, Case>> ImageCases()
    {
        (int[] X, int[] Weight, Extent Stride, Extent Padding, Extent Dilation, int Groups)[] convolutions =
        [
            ([2, 3, 5, 6], [4, 3, 3, 2], 1, 0, 1, 1),
            ([2, 3, 5, 6], [4, 3, 3, 3], 1, 1, 1, 1),
            ([1, 2, 7, 5], [3, 2, 3, 2], new(2, 3), new(1, 2), 1, 1),
            ([2, 2, 7, 8], [3, 2, 3, 2], 1, 2, new(2, 3), 1),
            ([2, 4, 5, 5], [6, 2, 3, 3], 2, 1, 1, 2),
            ([3, 3, 4, 4], [3, 1, 2, 2], 1, 0, 1, 3),
            ([2, 3, 4, 4], [5, 3, 1, 1], 1, 0, 1, 1),
            ([1, 1, 1, 1], [1, 1, 1, 1], 1, 0, 1, 1),
            ([0, 3, 4, 4], [5, 3, 2, 2], 1, 0, 1, 1),
        ];
        foreach ((int[] x, int[] weight, Extent stride, Extent padding, Extent dilation, int groups) in convolutions)
        {
            foreach (bool hasBias in (bool[])[false, true])
            {
                int[][] shapes = hasBias ? [x, weight, [weight[0]]] : [x, weight];
                yield return Row($"convolution {Text(shapes)}, stride {stride}, padding {padding}, dilation {dilation}, {groups} groups", shapes,
                    (tape, p) => tape.Conv2d(p[0], p[1], hasBias ? p[2] : null, stride, padding, dilation, groups),
                    p => Convolution(p[0], p[1], hasBias ? p[2] : null, stride, padding, dilation, groups));
            }
        }

        yield return Row("convolution over one axis", [[2, 4, 9], [6, 2, 3], [6]], (tape, p) => tape.Conv1d(p[0], p[1], p[2], 2, 1, 2, 2), p =>
        {
            NdArray result = Convolution(new([2, 4, 1, 9], p[0].Values), new([6, 2, 1, 3], p[1].Values), p[2], new(1, 2), new(0, 1), new(1, 2), 2);
            return new NdArray([2, 6, result.Shape[3]], result.Values);
        });

        (int[] X, Extent Window, Extent Stride, Extent Padding)[] pools = [([2, 3, 6, 4], 2, 2, 0), ([2, 2, 5, 7], 3, 2, 1), ([1, 2, 4, 5], (1, 3), 1, (0, 1)), ([1, 1, 1, 1], 1, 1, 0), ([0, 2, 4, 4], 2, 2, 0)];
        foreach ((int[] x, Extent window, Extent stride, Extent padding) in pools)
        {
            yield return Row($"largest of windows of {window} of {Text(x)}, stride {stride}, padding {padding}", [x], (tape, p) => tape.MaxPool2d(p[0], window, stride, padding),
                p => Pooled(p[0], window, stride, padding, 1, values => values.Where(value => !double.IsNaN(value)).Max()));
            yield return Row($"mean of windows of {window} of {Text(x)}, stride {stride}, padding {padding}", [x], (tape, p) => tape.AvgPool2d(p[0], window, stride, padding),
                p => Pooled(p[0], window, stride, padding, 1, values => values.Where(value => !double.IsNaN(value)).Sum() / values.Length));
        }

        yield return Row("largest of spread windows", [[1, 2, 7, 6]], (tape, p) => tape.MaxPool2d(p[0], 2, 1, 0, new(3, 2)), p => Pooled(p[0], 2, 1, 0, new(3, 2), values => values.Max()));
        yield return Row("largest of runs", [[2, 3, 7]], (tape, p) => tape.MaxPool1d(p[0], 3, 2, 1), p => Line(Pooled(new([2, 3, 1, 7], p[0].Values), new(1, 3), new(1, 2), new(0, 1), 1, values => values.Where(value => !double.IsNaN(value)).Max())));
        yield return Row("mean of runs", [[2, 3, 7]], (tape, p) => tape.AvgPool1d(p[0], 3), p => Line(Pooled(new([2, 3, 1, 7], p[0].Values), new(1, 3), new(1, 3), 0, 1, values => values.Average())));
    }

    private static NdArray Line(NdArray x) => new([x.Shape[0], x.Shape[1], x.Shape[3]], x.Values);

    private static int Places(int size, int window, int stride, int padding, int dilation) => (size + 2 * padding - dilation * (window - 1) - 1) / stride + 1;

    private static NdArray Convolution(NdArray x, NdArray weight, NdArray? bias, Extent stride, Extent padding, Extent dilation, int groups)
    {
        int inputs = weight.Shape[1], outputs = weight.Shape[0] / groups;
        int height = Places(x.Shape[2], weight.Shape[2], stride.Height, padding.Height, dilation.Height), width = Places(x.Shape[3], weight.Shape[3], stride.Width, padding.Width, dilation.Width);
        return NdArray.Make([x.Shape[0], weight.Shape[0], height, width], place =>
        {
            double sum = bias is null ? 0 : bias[place[1]];
            for (int c = 0; c < inputs; c++)
            {
                for (int i = 0; i < weight.Shape[2]; i++)
                {
                    for (int j = 0; j < weight.Shape[3]; j++)
                    {
                        int row = place[2] * stride.Height + i * dilation.Height - padding.Height, column = place[3] * stride.Width + j * dilation.Width - padding.Width;
                        if (row >= 0 && row < x.Shape[2] && column >= 0 && column < x.Shape[3])
                            sum += weight[place[1], c, i, j] * x[place[0], place[1] / outputs * inputs + c, row, column];
                    }
                }
            }

            return sum;
        });
    }

    /// <summary>A function of each window, in which places of the padding are NaN.</summary>
    private static NdArray Pooled(NdArray x, Extent window, Extent stride, Extent padding, Extent dilation, Func<double[], double> of)
    {
        int height = Places(x.Shape[2], window.Height, stride.Height, padding.Height, dilation.Height), width = Places(x.Shape[3], window.Width, stride.Width, padding.Width, dilation.Width);
        return NdArray.Make([x.Shape[0], x.Shape[1], height, width], place =>
        {
            var values = new List<double>();
            for (int i = 0; i < window.Height; i++)
            {
                for (int j = 0; j < window.Width; j++)
                {
                    int row = place[2] * stride.Height + i * dilation.Height - padding.Height, column = place[3] * stride.Width + j * dilation.Width - padding.Width;
                    values.Add(row >= 0 && row < x.Shape[2] && column >= 0 && column < x.Shape[3] ? x[place[0], place[1], row, column] : double.NaN);
                }
            }

            return of([.. values]);
        });
    }
}
