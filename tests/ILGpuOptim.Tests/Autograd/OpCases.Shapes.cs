using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

internal static partial class OpCases
{
    private static IEnumerable<KeyValuePair<string, Case>> ShapeCases()
    {
        yield return Row("reshape", [[2, 3, 4]], (tape, p) => tape.Reshape(p[0], 4, -1), p => new NdArray([4, 6], p[0].Values));
        yield return Row("reshape a result, then its view", [[2, 3, 4]], (tape, p) => tape.Tanh(tape.Reshape(tape.Reshape(tape.Exp(p[0]), 6, 4), 24)), p => NdArray.Make([24], place => Math.Tanh(Math.Exp(p[0].Values[place[0]]))));
        yield return Row("reshape to a scalar", [[1, 1]], (tape, p) => tape.Reshape(p[0]), p => new NdArray([], p[0].Values));
        yield return Row("reshape nothing", [[0, 3]], (tape, p) => tape.Reshape(p[0], 5, 0), p => new NdArray([5, 0], []));
        yield return Row("a view and its tensor", [[2, 3]], (tape, p) =>
        {
            Tensor x = tape.Exp(p[0]);
            return tape.Add(tape.Reshape(x, 6), tape.Multiply(tape.Reshape(x, 3, 2), tape.Reshape(x, 3, 2)) is var square ? tape.Reshape(square, 6) : x);
        }, p => NdArray.Make([6], place => Math.Exp(p[0].Values[place[0]]) + Math.Exp(2 * p[0].Values[place[0]])));
        yield return Row("flatten", [[2, 3, 4, 5]], (tape, p) => tape.Flatten(p[0], 1, -2), p => new NdArray([2, 12, 5], p[0].Values));
        yield return Row("squeeze", [[1, 3, 1, 2]], (tape, p) => tape.Squeeze(p[0]), p => new NdArray([3, 2], p[0].Values));
        yield return Row("squeeze one axis", [[1, 3, 1, 2]], (tape, p) => tape.Squeeze(p[0], -2), p => new NdArray([1, 3, 2], p[0].Values));
        yield return Row("unsqueeze", [[3, 2]], (tape, p) => tape.Unsqueeze(p[0], -1), p => new NdArray([3, 2, 1], p[0].Values));
        foreach (int[] axes in (int[][])[[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3], [1, 0, 3, 2], [2, 3, 0, 1], [-1, 0, 1, 2]])
        {
            int[] shape = [2, 3, 4, 5];
            yield return Row($"permute {string.Join(' ', axes)}", [shape], (tape, p) => tape.Permute(p[0], axes), p => NdArray.Make([.. axes.Select(axis => shape[(axis + 4) % 4])], place =>
            {
                var source = new int[4];
                for (int k = 0; k < 4; k++)
                    source[(axes[k] + 4) % 4] = place[k];
                return p[0][source];
            }));
        }

        yield return Row("permute axes of size 1", [[1, 3, 1]], (tape, p) => tape.Permute(p[0], 1, 2, 0), p => new NdArray([3, 1, 1], p[0].Values));
        yield return Row("permute a scalar", [[]], (tape, p) => tape.Permute(p[0]), p => p[0]);
        yield return Row("permute nothing", [[2, 0, 3]], (tape, p) => tape.Permute(p[0], 2, 1, 0), p => new NdArray([3, 0, 2], []));
        yield return Row("transpose a large matrix", [[67, 129]], (tape, p) => tape.Transpose(p[0]), p => NdArray.Make([129, 67], place => p[0][place[1], place[0]]));
        yield return Row("transpose matrices", [[2, 3, 4]], (tape, p) => tape.Transpose(p[0]), p => NdArray.Make([2, 4, 3], place => p[0][place[0], place[2], place[1]]));
        yield return Row("slice", [[3, 7, 2]], (tape, p) => tape.Slice(p[0], 1, 2..^1), p => NdArray.Make([3, 4, 2], place => p[0][place[0], place[1] + 2, place[2]]));
        yield return Row("slice by step", [[3, 7, 2]], (tape, p) => tape.Slice(p[0], -2, 1.., 3), p => NdArray.Make([3, 2, 2], place => p[0][place[0], place[1] * 3 + 1, place[2]]));
        yield return Row("slice backwards", [[7, 3]], (tape, p) => tape.Slice(p[0], 0, 1..6, -2), p => NdArray.Make([3, 3], place => p[0][5 - 2 * place[0], place[1]]));
        yield return Row("slice nothing", [[7, 3]], (tape, p) => tape.Slice(p[0], 0, 3..3), p => new NdArray([0, 3], []));
        yield return Row("slice rows", [[5, 7]], (tape, p) => tape.Slice(p[0], 0, 1..4), p => NdArray.Make([3, 7], place => p[0][place[0] + 1, place[1]]));
        yield return Row("slice columns of one row", [[1, 37]], (tape, p) => tape.Tanh(tape.Slice(p[0], 1, 3..36)), p => NdArray.Make([1, 33], place => Math.Tanh(p[0][0, place[1] + 3])));
        yield return Row("slices of a slice of rows", [[7, 3]], (tape, p) => tape.Slice(tape.Slice(tape.Exp(p[0]), 0, 1..6), 0, 2..) is var x ? tape.MatMul(x, x, transposeB: true) : x, p => NdArray.Make([3, 3], place => Enumerable.Range(0, 3).Sum(k => Math.Exp(p[0][place[0] + 3, k]) * Math.Exp(p[0][place[1] + 3, k]))));
        yield return Row("select a row", [[3, 4]], (tape, p) => tape.Select(p[0], 0, ^1), p => NdArray.Make([4], place => p[0][2, place[0]]));
        yield return Row("select an element", [[5]], (tape, p) => tape.Select(p[0], 0, 3), p => new NdArray([], [p[0][3]]));
        yield return Row("overlapping slices", [[7]], (tape, p) => tape.Multiply(tape.Slice(p[0], 0, ..5), tape.Slice(p[0], 0, 2..)), p => NdArray.Make([5], place => p[0][place[0]] * p[0][place[0] + 2]));
        yield return Row("select", [[3, 4]], (tape, p) => tape.Select(p[0], 1, ^2), p => NdArray.Make([3], place => p[0][place[0], 2]));
        yield return Row("flip", [[3, 4]], (tape, p) => tape.Flip(p[0]), p => NdArray.Make([3, 4], place => p[0][2 - place[0], 3 - place[1]]));
        yield return Row("flip rows", [[3, 4]], (tape, p) => tape.Flip(p[0], 0), p => NdArray.Make([3, 4], place => p[0][2 - place[0], place[1]]));
        yield return Row("split", [[3, 7]], (tape, p) => tape.Split(p[0], 1, 2, 0, 5) is var parts ? tape.Concat([parts[2], parts[1], parts[0]], 1) : p[0], p => NdArray.Make([3, 7], place => p[0][place[0], (place[1] + 2) % 7]));
        yield return Row("chunks", [[6, 2]], (tape, p) => tape.Chunk(p[0], 3) is var parts ? tape.Multiply(parts[0], parts[2]) : p[0], p => NdArray.Make([2, 2], place => p[0][place[0], place[1]] * p[0][place[0] + 4, place[1]]));
        yield return Row("concatenate", [[2, 3], [2, 1], [2, 0], [2, 4]], (tape, p) => tape.Concat(p, -1), p => NdArray.Make([2, 8], place => place[1] < 3 ? p[0][place] : place[1] < 4 ? p[1][place[0], 0] : p[3][place[0], place[1] - 4]));
        yield return Row("concatenate rows", [[2, 3], [4, 3]], (tape, p) => tape.Concat(p), p => NdArray.Make([6, 3], place => place[0] < 2 ? p[0][place] : p[1][place[0] - 2, place[1]]));
        yield return Row("a tensor twice", [[2, 3]], (tape, p) => tape.Concat([p[0], p[0]], 1), p => NdArray.Make([2, 6], place => p[0][place[0], place[1] % 3]));
        yield return Row("stack", [[2, 3], [2, 3], [2, 3]], (tape, p) => tape.Stack(p, -1), p => NdArray.Make([2, 3, 3], place => p[place[2]][place[0], place[1]]));
        yield return Row("pad", [[2, 3, 2]], (tape, p) => tape.Pad(p[0], [(1, 0), (2, 3)], -2), p => NdArray.Make([2, 4, 7], place => place[1] >= 1 && place[2] is >= 2 and < 4 ? p[0][place[0], place[1] - 1, place[2] - 2] : -2));
        yield return Row("pad nothing", [[0]], (tape, p) => tape.Pad(p[0], [(1, 2)]), p => new NdArray([3], [0, 0, 0]));
        yield return Row("expand", [[3, 1]], (tape, p) => tape.Expand(p[0], 2, -1, 4), p => NdArray.Make([2, 3, 4], p[0].Broadcast));
        yield return Row("expand axes apart", [[1, 3, 1, 2, 1]], (tape, p) => tape.Expand(p[0], 2, 3, 2, 2, 3), p => NdArray.Make([2, 3, 2, 2, 3], p[0].Broadcast));
        yield return Row("expand a scalar", [[]], (tape, p) => tape.Expand(p[0], 5), p => NdArray.Make([5], p[0].Broadcast));
        yield return Row("expand to nothing", [[1, 3]], (tape, p) => tape.Expand(p[0], 0, 3), p => new NdArray([0, 3], []));
    }

    private static IEnumerable<KeyValuePair<string, Case>> ProductCases()
    {
        (int[] A, int[] B)[] shapes =
        [
            ([3, 4], [4, 5]), ([1, 1], [1, 1]), ([7, 33], [33, 31]), ([2, 3, 4], [4, 5]), ([2, 3, 4], [2, 4, 5]), ([3, 4], [2, 4, 5]), ([2, 1, 3, 4], [5, 4, 2]), ([1, 3, 4], [5, 4, 2]), ([2, 3, 3, 4], [1, 3, 4, 2]),
            ([0, 4], [4, 5]), ([3, 0], [0, 5]), ([2, 3, 4], [2, 4, 0]), ([3, 4], [0, 4, 5]), ([0, 3, 4], [4, 5]),
        ];
        foreach ((int[] a, int[] b) in shapes)
        {
            foreach ((bool ta, bool tb) in ((bool, bool)[])[(false, false), (true, false), (false, true), (true, true)])
            {
                int[] storedA = ta ? [.. a[..^2], a[^1], a[^2]] : a, storedB = tb ? [.. b[..^2], b[^1], b[^2]] : b;
                yield return Row($"product of {Text(a)} and {Text(b)}{(ta ? ", first transposed" : "")}{(tb ? ", second transposed" : "")}", [storedA, storedB], (tape, p) => tape.MatMul(p[0], p[1], ta, tb), p =>
                {
                    int[] batch = NdArray.BroadcastShape(a[..^2], b[..^2]);
                    return NdArray.Make([.. batch, a[^2], b[^1]], place =>
                    {
                        double sum = 0;
                        for (int k = 0; k < a[^1]; k++)
                            sum += At(p[0], place[..^2], place[^2], k, ta) * At(p[1], place[..^2], k, place[^1], tb);
                        return sum;
                    });
                });
            }
        }

        yield return Row("product of vectors", [[5], [5]], (tape, p) => tape.MatMul(p[0], p[1]), p => NdArray.Make([], _ => p[0].Values.Zip(p[1].Values, (x, y) => x * y).Sum()));
        yield return Row("matrix times vector", [[3, 5], [5]], (tape, p) => tape.MatMul(p[0], p[1]), p => NdArray.Make([3], place => Enumerable.Range(0, 5).Sum(k => p[0][place[0], k] * p[1][k])));
        yield return Row("vector times matrix", [[5], [5, 3]], (tape, p) => tape.MatMul(p[0], p[1]), p => NdArray.Make([3], place => Enumerable.Range(0, 5).Sum(k => p[0][k] * p[1][k, place[0]])));
        yield return Row("matrices times vector", [[2, 3, 5], [5]], (tape, p) => tape.MatMul(p[0], p[1]), p => NdArray.Make([2, 3], place => Enumerable.Range(0, 5).Sum(k => p[0][place[0], place[1], k] * p[1][k])));
        yield return Row("vector times matrices", [[5], [2, 5, 3]], (tape, p) => tape.MatMul(p[0], p[1]), p => NdArray.Make([2, 3], place => Enumerable.Range(0, 5).Sum(k => p[0][k] * p[1][place[0], k, place[1]])));
        yield return Row("a matrix times itself", [[3, 5]], (tape, p) => tape.MatMul(p[0], p[0], transposeB: true), p => NdArray.Make([3, 3], place => Enumerable.Range(0, 5).Sum(k => p[0][place[0], k] * p[0][place[1], k])));
    }

    private static double At(NdArray matrices, int[] batch, int row, int column, bool isTransposed) =>
        matrices.Broadcast([.. batch, .. isTransposed ? (int[])[column, row] : [row, column]]);
}
