using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

internal static partial class OpCases
{
    private static int[][][] Pairs =>
    [
        [[3, 5], [3, 5]], [[3, 5], [5]], [[5], [3, 5]], [[3, 5], [3, 1]], [[3, 1], [1, 5]], [[2, 3, 4, 5], [3, 1, 1]], [[3, 1], [2, 1, 4]], [[], [2, 3]], [[2, 3], []], [[], []],
        [[1], [7]], [[2, 3, 1, 2, 3], [1, 3, 2, 1, 1]], [[2, 1, 3, 1, 2], [3, 1, 2, 1]], [[0, 3], [3]], [[3, 0], [3, 1]], [[1, 4097], [3, 1]],
    ];

    private static IEnumerable<KeyValuePair<string, Case>> ElementCases()
    {
        (string Name, Func<Tape, Tensor, Tensor, Tensor> Apply, Func<double, double, double> Expected, bool IsPositive)[] pairs =
        [
            ("add", (tape, x, y) => tape.Add(x, y), (x, y) => x + y, false),
            ("subtract", (tape, x, y) => tape.Subtract(x, y), (x, y) => x - y, false),
            ("multiply", (tape, x, y) => tape.Multiply(x, y), (x, y) => x * y, false),
            ("divide", (tape, x, y) => tape.Divide(x, y), (x, y) => x / y, true),
            ("maximum", (tape, x, y) => tape.Maximum(x, y), Math.Max, false),
            ("minimum", (tape, x, y) => tape.Minimum(x, y), Math.Min, false),
            ("power", (tape, x, y) => tape.Pow(x, y), Math.Pow, true),
            ("greater", (tape, x, y) => tape.Greater(x, y), (x, y) => x > y ? 1 : 0, false),
            ("greater or equal", (tape, x, y) => tape.GreaterOrEqual(x, y), (x, y) => x >= y ? 1 : 0, false),
            ("less", (tape, x, y) => tape.Less(x, y), (x, y) => x < y ? 1 : 0, false),
            ("less or equal", (tape, x, y) => tape.LessOrEqual(x, y), (x, y) => x <= y ? 1 : 0, false),
            ("equal", (tape, x, y) => tape.Equal(x, y), (x, y) => x == y ? 1 : 0, false),
            ("not equal", (tape, x, y) => tape.NotEqual(x, y), (x, y) => x != y ? 1 : 0, false),
            ("masked fill", (tape, x, y) => tape.MaskedFill(x, tape.Greater(y, tape.Zeros()), -3), (x, y) => y > 0 ? -3 : x, false),
        ];
        foreach ((string name, Func<Tape, Tensor, Tensor, Tensor> apply, Func<double, double, double> expected, bool isPositive) in pairs)
        {
            foreach (int[][] shapes in Pairs)
            {
                yield return Row($"{name} {Text(shapes)}", shapes, (tape, p) => apply(tape, p[0], p[1]),
                    p => NdArray.Make(NdArray.BroadcastShape(shapes), place => expected(p[0].Broadcast(place), p[1].Broadcast(place))), isPositive);
            }
        }

        foreach (int[][] shapes in (int[][][])[[[2, 3], [2, 3], [2, 3]], [[3], [2, 1], []], [[2, 3, 4], [3, 1], [2, 1, 4]], [[1], [], [5]]])
        {
            yield return Row($"where {Text(shapes)}", shapes, (tape, p) => tape.Where(tape.Greater(p[0], tape.Zeros()), p[1], p[2]),
                p => NdArray.Make(NdArray.BroadcastShape(shapes), place => p[0].Broadcast(place) > 0 ? p[1].Broadcast(place) : p[2].Broadcast(place)));
        }

        (string Name, Func<Tape, Tensor, Tensor> Apply, Func<double, double> Expected, bool IsPositive)[] functions =
        [
            ("affine", (tape, x) => tape.Affine(x, 3, -0.5f), x => 3 * x - 0.5, false),
            ("a number over", (tape, x) => tape.Divide(3, x), x => 3 / x, true),
            ("square", (tape, x) => tape.Square(x), x => x * x, false),
            ("square root", (tape, x) => tape.Sqrt(x), Math.Sqrt, true),
            ("reciprocal square root", (tape, x) => tape.Rsqrt(x), x => 1 / Math.Sqrt(x), true),
            ("exponential", (tape, x) => tape.Exp(x), Math.Exp, false),
            ("logarithm", (tape, x) => tape.Log(x), Math.Log, true),
            ("absolute value", (tape, x) => tape.Abs(x), Math.Abs, false),
            ("tanh", (tape, x) => tape.Tanh(x), Math.Tanh, false),
            ("sigmoid", (tape, x) => tape.Sigmoid(x), x => 1 / (1 + Math.Exp(-x)), false),
            ("ReLU", (tape, x) => tape.Relu(x), x => Math.Max(x, 0), false),
            ("clamp", (tape, x) => tape.Clamp(x, -0.5f, 0.75f), x => Math.Clamp(x, -0.5, 0.75), false),
            ("clamp from below", (tape, x) => tape.Clamp(x, min: 0.25f), x => Math.Max(x, 0.25), false),
            ("power -1", (tape, x) => tape.Pow(x, -1), x => 1 / x, true),
            ("power -0.5", (tape, x) => tape.Pow(x, -0.5f), x => Math.Pow(x, -0.5), true),
            ("power 0", (tape, x) => tape.Pow(x, 0), x => 1, false),
            ("power 0.5", (tape, x) => tape.Pow(x, 0.5f), Math.Sqrt, true),
            ("power 1", (tape, x) => tape.Pow(x, 1), x => x, false),
            ("power 2", (tape, x) => tape.Pow(x, 2), x => x * x, false),
            ("power 3", (tape, x) => tape.Pow(x, 3), x => x * x * x, false),
            ("power 4", (tape, x) => tape.Pow(x, 4), x => Math.Pow(x, 4), false),
            ("power 5", (tape, x) => tape.Pow(x, 5), x => Math.Pow(x, 5), false),
            ("power 1.5", (tape, x) => tape.Pow(x, 1.5f), x => Math.Pow(x, 1.5), true),
        ];
        foreach ((string name, Func<Tape, Tensor, Tensor> apply, Func<double, double> expected, bool isPositive) in functions)
        {
            foreach (int[] shape in (int[][])[[], [1], [7], [2, 3, 5], [0, 3]])
                yield return Row($"{name} {Text(shape)}", [shape], (tape, p) => apply(tape, p[0]), p => NdArray.Make(shape, place => expected(p[0][place])), isPositive);
        }

        yield return Row("a tensor times itself", [[3, 4]], (tape, p) => tape.Multiply(p[0], p[0]), p => NdArray.Make([3, 4], place => p[0][place] * p[0][place]));
        yield return Row("a tensor plus itself", [[3, 4]], (tape, p) => tape.Add(p[0], p[0]), p => NdArray.Make([3, 4], place => 2 * p[0][place]));
        yield return Row("a column minus itself as a row", [[3, 1]], (tape, p) => tape.Subtract(p[0], tape.Transpose(p[0])), p => NdArray.Make([3, 3], place => p[0][place[0], 0] - p[0][place[1], 0]));
    }

    private static string Text(params int[][] shapes) => string.Join(", ", shapes.Select(shape => shape.Length == 0 ? "scalar" : string.Join('×', shape)));
}
