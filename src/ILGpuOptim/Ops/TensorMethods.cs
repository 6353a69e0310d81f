using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Operations as methods of the tensor that they take: <c>x.Reshape(-1, 3).Sum(-1)</c>. The tensor's tape records them.</summary>
public static class TensorMethods
{
    /// <inheritdoc cref="SumOp.Sum(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Sum(this Tensor x, params ReadOnlySpan<int> axes) => Of("Sum", x).Sum(x, axes);

    /// <inheritdoc cref="SumOp.Sum(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Sum(this Tensor x, ReadOnlySpan<int> axes, bool keepDims) => Of("Sum", x).Sum(x, axes, keepDims);

    /// <inheritdoc cref="SumOp.Sum(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Sum(this Tensor x, int axis, bool keepDims) => Of("Sum", x).Sum(x, [axis], keepDims);

    /// <inheritdoc cref="SumOp.Mean(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Mean(this Tensor x, params ReadOnlySpan<int> axes) => Of("Mean", x).Mean(x, axes);

    /// <inheritdoc cref="SumOp.Mean(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Mean(this Tensor x, ReadOnlySpan<int> axes, bool keepDims) => Of("Mean", x).Mean(x, axes, keepDims);

    /// <inheritdoc cref="SumOp.Mean(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Mean(this Tensor x, int axis, bool keepDims) => Of("Mean", x).Mean(x, [axis], keepDims);

    /// <inheritdoc cref="ExtremeOp.Max(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Max(this Tensor x, params ReadOnlySpan<int> axes) => Of("Max", x).Max(x, axes);

    /// <inheritdoc cref="ExtremeOp.Max(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Max(this Tensor x, ReadOnlySpan<int> axes, bool keepDims) => Of("Max", x).Max(x, axes, keepDims);

    /// <inheritdoc cref="ExtremeOp.Max(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Max(this Tensor x, int axis, bool keepDims) => Of("Max", x).Max(x, [axis], keepDims);

    /// <inheritdoc cref="ExtremeOp.Min(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Min(this Tensor x, params ReadOnlySpan<int> axes) => Of("Min", x).Min(x, axes);

    /// <inheritdoc cref="ExtremeOp.Min(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Min(this Tensor x, ReadOnlySpan<int> axes, bool keepDims) => Of("Min", x).Min(x, axes, keepDims);

    /// <inheritdoc cref="ExtremeOp.Min(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor Min(this Tensor x, int axis, bool keepDims) => Of("Min", x).Min(x, [axis], keepDims);

    /// <inheritdoc cref="LogSumExpOp.LogSumExp(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor LogSumExp(this Tensor x, params ReadOnlySpan<int> axes) => Of("LogSumExp", x).LogSumExp(x, axes);

    /// <inheritdoc cref="LogSumExpOp.LogSumExp(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor LogSumExp(this Tensor x, ReadOnlySpan<int> axes, bool keepDims) => Of("LogSumExp", x).LogSumExp(x, axes, keepDims);

    /// <inheritdoc cref="LogSumExpOp.LogSumExp(Tape, Tensor, ReadOnlySpan{int}, bool)"/>
    public static Tensor LogSumExp(this Tensor x, int axis, bool keepDims) => Of("LogSumExp", x).LogSumExp(x, [axis], keepDims);

    /// <inheritdoc cref="ExtremeOp.ArgMax"/>
    public static Tensor ArgMax(this Tensor x, int axis = -1, bool keepDims = false) => Of("ArgMax", x).ArgMax(x, axis, keepDims);

    /// <inheritdoc cref="ExtremeOp.ArgMin"/>
    public static Tensor ArgMin(this Tensor x, int axis = -1, bool keepDims = false) => Of("ArgMin", x).ArgMin(x, axis, keepDims);

    /// <inheritdoc cref="VarianceOp.Variance"/>
    public static Tensor Variance(this Tensor x, ReadOnlySpan<int> axes = default, int correction = 1, bool keepDims = false) => Of("Variance", x).Variance(x, axes, correction, keepDims);

    /// <inheritdoc cref="VarianceOp.StandardDeviation"/>
    public static Tensor StandardDeviation(this Tensor x, ReadOnlySpan<int> axes = default, int correction = 1, bool keepDims = false) => Of("StandardDeviation", x).StandardDeviation(x, axes, correction, keepDims);

    /// <inheritdoc cref="NormOp.Norm"/>
    public static Tensor Norm(this Tensor x, ReadOnlySpan<int> axes = default, float order = 2, bool keepDims = false) => Of("Norm", x).Norm(x, axes, order, keepDims);

    /// <inheritdoc cref="SoftmaxOp.Softmax"/>
    public static Tensor Softmax(this Tensor x, int axis = -1) => Of("Softmax", x).Softmax(x, axis);

    /// <inheritdoc cref="SoftmaxOp.LogSoftmax"/>
    public static Tensor LogSoftmax(this Tensor x, int axis = -1) => Of("LogSoftmax", x).LogSoftmax(x, axis);

    /// <inheritdoc cref="ElementOps.Square"/>
    public static Tensor Square(this Tensor x) => Of("Square", x).Square(x);

    /// <inheritdoc cref="ElementOps.Sqrt"/>
    public static Tensor Sqrt(this Tensor x) => Of("Sqrt", x).Sqrt(x);

    /// <inheritdoc cref="ElementOps.Rsqrt"/>
    public static Tensor Rsqrt(this Tensor x) => Of("Rsqrt", x).Rsqrt(x);

    /// <inheritdoc cref="ElementOps.Exp"/>
    public static Tensor Exp(this Tensor x) => Of("Exp", x).Exp(x);

    /// <inheritdoc cref="ElementOps.Log"/>
    public static Tensor Log(this Tensor x) => Of("Log", x).Log(x);

    /// <inheritdoc cref="ElementOps.Abs"/>
    public static Tensor Abs(this Tensor x) => Of("Abs", x).Abs(x);

    /// <inheritdoc cref="ElementOps.Tanh"/>
    public static Tensor Tanh(this Tensor x) => Of("Tanh", x).Tanh(x);

    /// <inheritdoc cref="ElementOps.Sigmoid"/>
    public static Tensor Sigmoid(this Tensor x) => Of("Sigmoid", x).Sigmoid(x);

    /// <inheritdoc cref="ElementOps.Relu"/>
    public static Tensor Relu(this Tensor x) => Of("Relu", x).Relu(x);

    /// <inheritdoc cref="ElementOps.Pow(Tape, Tensor, float)"/>
    public static Tensor Pow(this Tensor x, float exponent) => Of("Pow", x).Pow(x, exponent);

    /// <inheritdoc cref="ElementOps.Pow(Tape, Tensor, Tensor)"/>
    public static Tensor Pow(this Tensor x, Tensor y) => TensorOperators.TapeOf("Pow", x, y).Pow(x, y);

    /// <inheritdoc cref="ElementOps.Maximum"/>
    public static Tensor Maximum(this Tensor x, Tensor y) => TensorOperators.TapeOf("Maximum", x, y).Maximum(x, y);

    /// <inheritdoc cref="ElementOps.Minimum"/>
    public static Tensor Minimum(this Tensor x, Tensor y) => TensorOperators.TapeOf("Minimum", x, y).Minimum(x, y);

    /// <inheritdoc cref="ElementOps.Clamp"/>
    public static Tensor Clamp(this Tensor x, float min = float.NegativeInfinity, float max = float.PositiveInfinity) => Of("Clamp", x).Clamp(x, min, max);

    /// <inheritdoc cref="ElementOps.MaskedFill"/>
    public static Tensor MaskedFill(this Tensor x, Tensor mask, float value) => TensorOperators.TapeOf("MaskedFill", x, mask).MaskedFill(x, mask, value);

    /// <inheritdoc cref="ComparisonOps.Equal(Tape, Tensor, Tensor)"/>
    public static Tensor EqualTo(this Tensor x, Tensor y) => TensorOperators.TapeOf("Equal", x, y).Equal(x, y);

    /// <inheritdoc cref="ComparisonOps.Equal(Tape, Tensor, float)"/>
    public static Tensor EqualTo(this Tensor x, float y) => Of("Equal", x).Equal(x, y);

    /// <inheritdoc cref="ComparisonOps.NotEqual(Tape, Tensor, Tensor)"/>
    public static Tensor NotEqualTo(this Tensor x, Tensor y) => TensorOperators.TapeOf("NotEqual", x, y).NotEqual(x, y);

    /// <inheritdoc cref="ComparisonOps.NotEqual(Tape, Tensor, float)"/>
    public static Tensor NotEqualTo(this Tensor x, float y) => Of("NotEqual", x).NotEqual(x, y);

    /// <inheritdoc cref="MatMulOp.MatMul"/>
    public static Tensor MatMul(this Tensor a, Tensor b, bool transposeA = false, bool transposeB = false) => TensorOperators.TapeOf("MatMul", a, b).MatMul(a, b, transposeA, transposeB);

    /// <inheritdoc cref="ReshapeOp.Reshape"/>
    public static Tensor Reshape(this Tensor x, params ReadOnlySpan<int> shape) => Of("Reshape", x).Reshape(x, shape);

    /// <inheritdoc cref="ReshapeOp.Flatten"/>
    public static Tensor Flatten(this Tensor x, int first = 0, int last = -1) => Of("Flatten", x).Flatten(x, first, last);

    /// <inheritdoc cref="ReshapeOp.Squeeze"/>
    public static Tensor Squeeze(this Tensor x, params ReadOnlySpan<int> axes) => Of("Squeeze", x).Squeeze(x, axes);

    /// <inheritdoc cref="ReshapeOp.Unsqueeze"/>
    public static Tensor Unsqueeze(this Tensor x, int axis) => Of("Unsqueeze", x).Unsqueeze(x, axis);

    /// <inheritdoc cref="PermuteOp.Permute"/>
    public static Tensor Permute(this Tensor x, params ReadOnlySpan<int> axes) => Of("Permute", x).Permute(x, axes);

    /// <inheritdoc cref="PermuteOp.Transpose"/>
    public static Tensor Transpose(this Tensor x, int first = -2, int second = -1) => Of("Transpose", x).Transpose(x, first, second);

    /// <inheritdoc cref="ExpandOp.Expand"/>
    public static Tensor Expand(this Tensor x, params ReadOnlySpan<int> shape) => Of("Expand", x).Expand(x, shape);

    /// <inheritdoc cref="SliceOp.Slice"/>
    public static Tensor Slice(this Tensor x, int axis, Range range, int step = 1) => Of("Slice", x).Slice(x, axis, range, step);

    /// <inheritdoc cref="SliceOp.Select"/>
    public static Tensor Select(this Tensor x, int axis, Index index) => Of("Select", x).Select(x, axis, index);

    /// <inheritdoc cref="SliceOp.Flip"/>
    public static Tensor Flip(this Tensor x, params ReadOnlySpan<int> axes) => Of("Flip", x).Flip(x, axes);

    /// <inheritdoc cref="SliceOp.Split"/>
    public static Tensor[] Split(this Tensor x, int axis, params ReadOnlySpan<int> sizes) => Of("Split", x).Split(x, axis, sizes);

    /// <inheritdoc cref="SliceOp.Chunk"/>
    public static Tensor[] Chunk(this Tensor x, int count, int axis = 0) => Of("Chunk", x).Chunk(x, count, axis);

    /// <inheritdoc cref="PadOp.Pad"/>
    public static Tensor Pad(this Tensor x, ReadOnlySpan<(int Before, int After)> padding, float value = 0) => Of("Pad", x).Pad(x, padding, value);

    /// <inheritdoc cref="IndexSelectOp.IndexSelect(Tape, Tensor, int, ReadOnlySpan{int})"/>
    public static Tensor IndexSelect(this Tensor x, int axis, ReadOnlySpan<int> indices) => Of("IndexSelect", x).IndexSelect(x, axis, indices);

    /// <inheritdoc cref="IndexSelectOp.IndexSelect(Tape, Tensor, int, Block)"/>
    public static Tensor IndexSelect(this Tensor x, int axis, Block indices) => Of("IndexSelect", x).IndexSelect(x, axis, indices);

    /// <inheritdoc cref="IndexSelectOp.IndexAdd"/>
    public static Tensor IndexAdd(this Tensor x, int axis, ReadOnlySpan<int> indices, Tensor source) => TensorOperators.TapeOf("IndexAdd", x, source).IndexAdd(x, axis, indices, source);

    /// <inheritdoc cref="GatherOp.Gather"/>
    public static Tensor Gather(this Tensor x, int axis, ReadOnlySpan<int> indices) => Of("Gather", x).Gather(x, axis, indices);

    /// <inheritdoc cref="GatherOp.ScatterAdd"/>
    public static Tensor ScatterAdd(this Tensor x, int axis, ReadOnlySpan<int> indices, Tensor source) => TensorOperators.TapeOf("ScatterAdd", x, source).ScatterAdd(x, axis, indices, source);

    /// <inheritdoc cref="ConvolutionOp.Conv2d"/>
    public static Tensor Conv2d(this Tensor x, Tensor weight, Tensor? bias = null, Extent? stride = null, Extent? padding = null, Extent? dilation = null, int groups = 1) => TensorOperators.TapeOf("Conv2d", x, weight).Conv2d(x, weight, bias, stride, padding, dilation, groups);

    /// <inheritdoc cref="ConvolutionOp.Conv1d"/>
    public static Tensor Conv1d(this Tensor x, Tensor weight, Tensor? bias = null, int stride = 1, int padding = 0, int dilation = 1, int groups = 1) => TensorOperators.TapeOf("Conv1d", x, weight).Conv1d(x, weight, bias, stride, padding, dilation, groups);

    /// <inheritdoc cref="PoolingOps.MaxPool2d"/>
    public static Tensor MaxPool2d(this Tensor x, Extent window, Extent? stride = null, Extent? padding = null, Extent? dilation = null) => Of("MaxPool2d", x).MaxPool2d(x, window, stride, padding, dilation);

    /// <inheritdoc cref="PoolingOps.AvgPool2d"/>
    public static Tensor AvgPool2d(this Tensor x, Extent window, Extent? stride = null, Extent? padding = null) => Of("AvgPool2d", x).AvgPool2d(x, window, stride, padding);

    /// <inheritdoc cref="PoolingOps.MaxPool1d"/>
    public static Tensor MaxPool1d(this Tensor x, int window, int? stride = null, int padding = 0, int dilation = 1) => Of("MaxPool1d", x).MaxPool1d(x, window, stride, padding, dilation);

    /// <inheritdoc cref="PoolingOps.AvgPool1d"/>
    public static Tensor AvgPool1d(this Tensor x, int window, int? stride = null, int padding = 0) => Of("AvgPool1d", x).AvgPool1d(x, window, stride, padding);

    /// <inheritdoc cref="LossOps.MseLoss"/>
    public static Tensor MseLoss(this Tensor x, Tensor target, LossReduction reduction = LossReduction.Mean) => TensorOperators.TapeOf("MseLoss", x, target).MseLoss(x, target, reduction);

    /// <inheritdoc cref="LossOps.HuberLoss"/>
    public static Tensor HuberLoss(this Tensor x, Tensor target, float delta = 1, LossReduction reduction = LossReduction.Mean) => TensorOperators.TapeOf("HuberLoss", x, target).HuberLoss(x, target, delta, reduction);

    /// <inheritdoc cref="LossOps.BinaryCrossEntropyWithLogits"/>
    public static Tensor BinaryCrossEntropyWithLogits(this Tensor logits, Tensor target, LossReduction reduction = LossReduction.Mean) => TensorOperators.TapeOf("BinaryCrossEntropyWithLogits", logits, target).BinaryCrossEntropyWithLogits(logits, target, reduction);

    /// <inheritdoc cref="LossOps.KlDivergence"/>
    public static Tensor KlDivergence(this Tensor logProbabilities, Tensor target, LossReduction reduction = LossReduction.Mean) => TensorOperators.TapeOf("KlDivergence", logProbabilities, target).KlDivergence(logProbabilities, target, reduction);

    /// <inheritdoc cref="LogitsCrossEntropyOp.CrossEntropy"/>
    public static Tensor CrossEntropy(this Tensor logits, ReadOnlySpan<int> targets, int ignored = -100, float labelSmoothing = 0, LossReduction reduction = LossReduction.Mean) => Of("CrossEntropy", logits).CrossEntropy(logits, targets, ignored, labelSmoothing, reduction);

    private static Tape Of(string operation, Tensor x) => TensorOperators.TapeOf(operation, x);
}
