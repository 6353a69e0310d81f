using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

internal static partial class OpCases
{
    private static IEnumerable<KeyValuePair<string, Case>> IndexCases()
    {
        int[] places = [2, 0, 2, 1];
        foreach (int axis in (int[])[0, 1, -1])
        {
            int[] shape = [3, 4, 3];
            int at = (axis + 3) % 3;
            int[] selected = [.. shape.Select((size, k) => k == at ? places.Length : size)];
            yield return Row($"select places of axis {axis}", [shape], (tape, p) => tape.IndexSelect(p[0], axis, places), p => NdArray.Make(selected, place => p[0][With(place, at, places[place[at]])]));
            yield return Row($"add to places of axis {axis}", [shape, selected], (tape, p) => tape.IndexAdd(p[0], axis, places, p[1]), p =>
            {
                NdArray result = NdArray.Make(shape, place => p[0][place]);
                foreach (int[] place in p[1].Places())
                    result[With(place, at, places[place[at]])] += p[1][place];
                return result;
            });
            foreach (int count in (int[])[1, 5])
            {
                int[] gathered = [.. shape.Select((size, k) => k == at ? count : size)];
                NdArray indices = NdArray.Make(gathered, place => (place[0] * 5 + place[1] * 3 + place[2] * 2) % shape[at]);
                int[] flat = [.. indices.Values.Select(index => (int)index)];
                yield return Row($"gather {count} along axis {axis}", [shape], (tape, p) => tape.Gather(p[0], axis, flat), p => NdArray.Make(gathered, place => p[0][With(place, at, (int)indices[place])]));
                yield return Row($"scatter {count} along axis {axis}", [shape, gathered], (tape, p) => tape.ScatterAdd(p[0], axis, flat, p[1]), p =>
                {
                    NdArray result = NdArray.Make(shape, place => p[0][place]);
                    foreach (int[] place in p[1].Places())
                        result[With(place, at, (int)indices[place])] += p[1][place];
                    return result;
                });
            }
        }

        yield return Row("select no places", [[3, 4]], (tape, p) => tape.IndexSelect(p[0], 1, []), p => new NdArray([3, 0], []));
        yield return Row("select places on the device", [[3, 4]], (tape, p) => tape.IndexSelect(p[0], 0, tape.Indices(places)), p => NdArray.Make([4, 4], place => p[0][places[place[0]], place[1]]));
        yield return Row("gather nothing", [[3, 4]], (tape, p) => tape.Gather(p[0], 1, []), p => new NdArray([3, 0], []));
        yield return Row("one-hot rows times a matrix", [[3, 4]], (tape, p) => tape.MatMul(tape.OneHot([2, 0, -1, 2], 3), p[0]), p => NdArray.Make([4, 4], place => place[0] == 2 ? 0 : p[0][place[0] == 1 ? 0 : 2, place[1]]));
        yield return Row("constants", [[2, 3]], (tape, p) => tape.Add(tape.Multiply(p[0], tape.Full(2, 2, 3)), tape.Add(tape.Ones(3), tape.Add(tape.Arange(3), tape.Constant([5], [])))), p => NdArray.Make([2, 3], place => 2 * p[0][place] + 6 + place[1]));
    }

    private static IEnumerable<KeyValuePair<string, Case>> LossCases()
    {
        (string Name, Func<Tape, Tensor, Tensor, LossReduction, Tensor> Apply, Func<double, double, double> Expected)[] losses =
        [
            ("squared error", (tape, x, y, reduction) => tape.MseLoss(x, y, reduction), (x, y) => (x - y) * (x - y)),
            ("Huber's loss", (tape, x, y, reduction) => tape.HuberLoss(x, y, 0.75f, reduction), (x, y) => Math.Abs(x - y) < 0.75 ? (x - y) * (x - y) / 2 : 0.75 * (Math.Abs(x - y) - 0.375)),
            ("binary cross-entropy", (tape, x, y, reduction) => tape.BinaryCrossEntropyWithLogits(x, tape.Sigmoid(y), reduction), (x, y) => 1 / (1 + Math.Exp(-y)) is var t ? t * Math.Log(1 + Math.Exp(-x)) + (1 - t) * Math.Log(1 + Math.Exp(x)) : 0),
            ("divergence", (tape, x, y, reduction) => tape.KlDivergence(x, tape.Sigmoid(y), reduction), (x, y) => 1 / (1 + Math.Exp(-y)) is var t ? t * (Math.Log(t) - x) : 0),
        ];
        foreach ((string name, Func<Tape, Tensor, Tensor, LossReduction, Tensor> apply, Func<double, double, double> expected) in losses)
        {
            foreach (int[][] shapes in (int[][][])[[[3, 5], [3, 5]], [[2, 3, 4], [4]], [[7], []]])
            {
                foreach (LossReduction reduction in Enum.GetValues<LossReduction>())
                {
                    yield return Row($"{name} {Text(shapes)} {reduction}", shapes, (tape, p) => apply(tape, p[0], p[1], reduction), p =>
                        Reduced(NdArray.Make(NdArray.BroadcastShape(shapes), place => expected(p[0].Broadcast(place), p[1].Broadcast(place))), reduction));
                }
            }
        }

        foreach (LossReduction reduction in Enum.GetValues<LossReduction>())
        {
            foreach (float smoothing in (float[])[0, 0.25f, 1])
            {
                int[] targets = [4, 0, -100, 2, 2, 1];
                yield return Row($"cross-entropy of logits, smoothed by {smoothing}, {reduction}", [[2, 3, 5]], (tape, p) => tape.CrossEntropy(p[0], targets, labelSmoothing: smoothing, reduction: reduction), p =>
                {
                    NdArray rows = NdArray.Make([2, 3], place =>
                    {
                        int target = targets[place[0] * 3 + place[1]];
                        double[] z = [.. Enumerable.Range(0, 5).Select(k => p[0][place[0], place[1], k])];
                        double sum = Math.Log(z.Sum(Math.Exp));
                        return target < 0 ? 0 : (1 - smoothing) * (sum - z[target]) + smoothing * z.Average(value => sum - value);
                    });
                    NdArray reduced = Reduced(rows, reduction);
                    return reduction == LossReduction.Mean ? new NdArray([], [reduced.Values[0] * 6 / 5]) : reduced;
                });
            }
        }

        foreach (double smoothing in (double[])[0, 0.2])
        {
            yield return Row($"loss of pairs, smoothed by {smoothing}", [[5], [5]], (tape, p) => tape.PreferenceLoss(p[0], p[1], new DpoOptions { Beta = 0.3, LabelSmoothing = smoothing }), p => NdArray.Make([5], place =>
                (p[0][place] - p[1][place]) is var h ? -(1 - smoothing) * Math.Log(1 / (1 + Math.Exp(-h))) - smoothing * Math.Log(1 / (1 + Math.Exp(h))) : 0));
            yield return Row($"IPO's loss of pairs, smoothed by {smoothing}", [[5], [5]], (tape, p) => tape.PreferenceLoss(p[0], p[1], new DpoOptions { Beta = 0.3, LabelSmoothing = smoothing, Loss = PreferenceLossKind.Ipo }), p => NdArray.Make([5], place =>
                (p[0][place] - p[1][place]) / 0.3 is var ratio ? (1 - smoothing) * Math.Pow(ratio - 1 / 0.6, 2) + smoothing * Math.Pow(ratio + 1 / 0.6, 2) : 0));
        }

        yield return Row("losses of tokens", [[4, 3], [6, 3], [6]], (tape, p) => tape.TokenLosses(p[0], p[1], p[2], [5, -1, 0, 2]), p => NdArray.Make([4], place =>
        {
            int target = new[] { 5, -1, 0, 2 }[place[0]];
            double[] z = [.. Enumerable.Range(0, 6).Select(k => Enumerable.Range(0, 3).Sum(c => p[0][place[0], c] * p[1][k, c]) + p[2][k])];
            return target < 0 ? 0 : Math.Log(z.Sum(Math.Exp)) - z[target];
        }));
        yield return Row("cross-entropy of one row", [[7]], (tape, p) => tape.CrossEntropy(p[0], [3]), p => new NdArray([], [Math.Log(p[0].Values.Sum(Math.Exp)) - p[0][3]]));
    }

    private static NdArray Reduced(NdArray losses, LossReduction reduction) => reduction switch
    {
        LossReduction.None => losses,
        LossReduction.Sum => new NdArray([], [losses.Values.Sum()]),
        _ => new NdArray([], [losses.Values.Average()]),
    };

    private static int[] With(int[] place, int axis, int index) => [.. place.Select((value, k) => k == axis ? index : value)];
}
