using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

internal static partial class OpCases
{
    private static IEnumerable<KeyValuePair<string, Case>> ReductionCases()
    {
        (string Name, Func<Tape, Tensor, int[], bool, Tensor> Apply, Func<double[], double> Expected)[] reductions =
        [
            ("sum", (tape, x, axes, keep) => tape.Sum(x, axes, keep), values => values.Sum()),
            ("mean", (tape, x, axes, keep) => tape.Mean(x, axes, keep), values => values.Average()),
            ("max", (tape, x, axes, keep) => tape.Max(x, axes, keep), values => values.Max()),
            ("min", (tape, x, axes, keep) => tape.Min(x, axes, keep), values => values.Min()),
            ("variance", (tape, x, axes, keep) => tape.Variance(x, axes, keepDims: keep), values => Variance(values, 1)),
            ("variance of a population", (tape, x, axes, keep) => tape.Variance(x, axes, 0, keep), values => Variance(values, 0)),
            ("standard deviation", (tape, x, axes, keep) => tape.StandardDeviation(x, axes, keepDims: keep), values => Math.Sqrt(Variance(values, 1))),
            ("norm", (tape, x, axes, keep) => tape.Norm(x, axes, keepDims: keep), values => Math.Sqrt(values.Sum(value => value * value))),
            ("norm of order 1", (tape, x, axes, keep) => tape.Norm(x, axes, 1, keep), values => values.Sum(Math.Abs)),
            ("norm of order 3", (tape, x, axes, keep) => tape.Norm(x, axes, 3, keep), values => Math.Cbrt(values.Sum(value => Math.Abs(value * value * value)))),
            ("norm of order infinity", (tape, x, axes, keep) => tape.Norm(x, axes, float.PositiveInfinity, keep), values => values.Max(Math.Abs)),
            ("log-sum-exp", (tape, x, axes, keep) => tape.LogSumExp(x, axes, keep), values => Math.Log(values.Sum(Math.Exp))),
        ];
        (int[] Shape, int[] Axes)[] uses =
        [
            ([2, 3, 4, 5], []), ([2, 3, 4, 5], [-1]), ([2, 3, 4, 5], [0]), ([2, 3, 4, 5], [1]), ([2, 3, 4, 5], [1, 2]), ([2, 3, 4, 5], [0, 2]), ([2, 3, 4, 5], [-1, 0]), ([2, 3, 4, 5], [1, 3]),
            ([2, 3, 2, 3, 2], [1, 3]), ([2, 3, 2, 3, 2], [0, 2, 4]), ([7], [0]), ([33, 3], [0]), ([1, 4097], [-1]), ([2, 1, 5], [2, 1]),
        ];
        foreach ((string name, Func<Tape, Tensor, int[], bool, Tensor> apply, Func<double[], double> expected) in reductions)
        {
            foreach ((int[] shape, int[] axes) in uses)
            {
                foreach (bool keep in (bool[])[false, true])
                {
                    yield return Row($"{name} of {Text(shape)} over {string.Join(' ', axes)}{(keep ? ", kept" : "")}", [shape], (tape, p) => apply(tape, p[0], axes, keep),
                        p => p[0].Reduce(axes, keep, expected));
                }
            }
        }

        foreach (bool keep in (bool[])[false, true])
        {
            yield return Row($"sum of no elements {keep}", [[3, 0, 2]], (tape, p) => tape.Sum(p[0], [1], keep), p => p[0].Reduce([1], keep, values => 0));
            yield return Row($"sums of none {keep}", [[0, 3]], (tape, p) => tape.Sum(p[0], [1], keep), p => p[0].Reduce([1], keep, values => 0));
            yield return Row($"largest of none {keep}", [[0, 3]], (tape, p) => tape.Max(p[0], [1], keep), p => p[0].Reduce([1], keep, values => 0));
            yield return Row($"norm of no elements {keep}", [[3, 0]], (tape, p) => tape.Norm(p[0], [1], keepDims: keep), p => p[0].Reduce([1], keep, values => 0));
            foreach (int axis in (int[])[0, 1, -1])
            {
                yield return Row($"place of the largest along {axis} {keep}", [[3, 4, 5]], (tape, p) => tape.ArgMax(p[0], axis, keep), p => p[0].Reduce([axis], keep, values => Array.IndexOf(values, values.Max())));
                yield return Row($"place of the smallest along {axis} {keep}", [[3, 4, 5]], (tape, p) => tape.ArgMin(p[0], axis, keep), p => p[0].Reduce([axis], keep, values => Array.IndexOf(values, values.Min())));
            }
        }

        yield return Row("sum of a scalar", [[]], (tape, p) => tape.Sum(p[0]), p => p[0]);
        yield return Row("largest of a scalar", [[]], (tape, p) => tape.Max(p[0]), p => p[0]);
        foreach ((int[] shape, int axis) in ((int[], int)[])[([3, 5], -1), ([3, 5], 0), ([2, 3, 4], 1), ([1, 4097], -1), ([5, 1], -1), ([7], 0), ([0, 3], 1)])
        {
            yield return Row($"softmax of {Text(shape)} along {axis}", [shape], (tape, p) => tape.Softmax(p[0], axis), p =>
            {
                NdArray sums = p[0].Reduce([axis], true, values => values.Sum(Math.Exp));
                return NdArray.Make(shape, place => Math.Exp(p[0][place]) / sums.Broadcast(place));
            });
            yield return Row($"log-softmax of {Text(shape)} along {axis}", [shape], (tape, p) => tape.LogSoftmax(p[0], axis), p =>
            {
                NdArray sums = p[0].Reduce([axis], true, values => values.Sum(Math.Exp));
                return NdArray.Make(shape, place => p[0][place] - Math.Log(sums.Broadcast(place)));
            });
        }
    }

    private static double Variance(double[] values, int correction)
    {
        double mean = values.Average();
        return values.Sum(value => (value - mean) * (value - mean)) / (values.Length - correction);
    }
}
