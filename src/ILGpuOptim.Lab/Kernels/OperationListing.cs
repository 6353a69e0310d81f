using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Lab;

/// <summary>Records the GPU kernels of the general tensor operations.</summary>
internal static class OperationListing
{
    /// <summary>Records the kernels of every general operation and its gradient.</summary>
    /// <param name="recorder">Receives the kernels.</param>
    public static void Record(KernelRecorder recorder) => Launch(recorder.Device);

    /// <summary>Launches the kernels of every general operation and its gradient.</summary>
    internal static void Launch(Device device)
    {
        using var tape = new Tape(device);
        Parameter images = New([2, 4, 6, 6]), weight = New([4, 2, 3, 3]), bias = New([4]), matrix = New([9, 7]), row = New([7]), column = New([9, 1]);
        Tensor[] results =
        [
            .. Elements(tape, matrix, row, column),
            .. Reductions(tape, matrix),
            .. Moves(tape, matrix, row),
            tape.MaxPool2d(tape.Conv2d(images, weight, bias, padding: 1, groups: 2), 2),
            tape.AvgPool2d(images, 3, 1),
            tape.MseLoss(matrix, row),
            tape.HuberLoss(matrix, row),
            tape.BinaryCrossEntropyWithLogits(matrix, row),
            tape.KlDivergence(matrix, row),
            tape.CrossEntropy(matrix, [0, 1, 2, 3, 4, 5, 6, -100, 0], labelSmoothing: 0.1f),
        ];
        Tensor loss = tape.Zeros();
        foreach (Tensor result in results)
            loss = tape.Add(loss, tape.Sum(result));
        tape.Backward(loss);
        foreach (Parameter parameter in (Parameter[])[images, weight, bias, matrix, row, column])
            parameter.Release();

        Parameter New(int[] shape) => new(device, "x", shape);
    }

    private static Tensor[] Elements(Tape tape, Tensor x, Tensor row, Tensor column) =>
    [
        tape.Add(x, row), tape.Subtract(x, column), tape.Multiply(x, row), tape.Multiply(x, column), tape.Divide(x, row), tape.Divide(2, x), tape.Affine(x, 2, 1),
        tape.Maximum(x, row), tape.Minimum(x, row), tape.Pow(x, row), tape.Pow(x, 1.5f), tape.Square(x), tape.Sqrt(x), tape.Rsqrt(x), tape.Exp(x), tape.Log(x), tape.Abs(x),
        tape.Tanh(x), tape.Sigmoid(x), tape.Relu(x), tape.Clamp(x, 0, 1), tape.Where(tape.Greater(x, row), x, column), tape.MaskedFill(x, tape.LessOrEqual(x, 0), 1),
        tape.Equal(x, row), tape.NotEqual(x, 0), tape.Less(x, 0), tape.GreaterOrEqual(x, row),
    ];

    private static Tensor[] Reductions(Tape tape, Tensor x) =>
    [
        tape.Sum(x, [0]), tape.Mean(x, [1]), tape.Max(x), tape.Min(x, [1]), tape.ArgMax(x), tape.ArgMin(x, 0), tape.Variance(x, [1]), tape.StandardDeviation(x), tape.Norm(x, [1]),
        tape.LogSumExp(x, [1]), tape.Softmax(x), tape.LogSoftmax(x),
    ];

    private static Tensor[] Moves(Tape tape, Tensor x, Tensor row) =>
    [
        tape.MatMul(x, tape.Transpose(x)), tape.MatMul(x, row), tape.Expand(row, 2, 3, 7), tape.Slice(x, 0, 1..^1, -2), tape.Concat([x, x], 1), tape.Pad(x, [(1, 1)]),
        tape.Permute(tape.Reshape(x, 3, 3, 7), 2, 1, 0), tape.IndexSelect(x, 1, [3, 3]), tape.IndexAdd(x, 1, [3, 3], tape.Slice(x, 1, ..2)), tape.Gather(tape.Slice(x, 0, ..2), 1, [1, 0]),
        tape.OneHot([1, 2], 7),
    ];
}
