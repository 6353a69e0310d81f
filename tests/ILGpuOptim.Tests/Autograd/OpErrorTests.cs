using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Shapes and indices that do not fit are refused in words that name both.</summary>
public sealed class OpErrorTests : IDisposable
{
    private readonly CpuDevice device = new(1);

    public static TheoryData<string> Names => [.. Wrong.Keys];

    private static Dictionary<string, Action<Tape>> Wrong => new()
    {
        ["Add: 2×3 and 4×5 cannot be broadcast to each other: sizes 3 and 5 of axis -1 differ and neither is 1"] = tape => tape.Add(tape.Ones(2, 3), tape.Ones(4, 5)),
        ["Multiply: 2×3 and 3×3 cannot be broadcast to each other: sizes 2 and 3 of axis -2 differ and neither is 1"] = tape => tape.Multiply(tape.Ones(2, 3), tape.Ones(3, 3)),
        ["Where: [2] and [3] cannot be broadcast"] = tape => tape.Where(tape.Ones(2), tape.Ones(2), tape.Ones(3)),
        ["RandomNormal: standardDeviation is -1; it must be finite and at least 0"] = tape => tape.RandomNormal(0, -1, 2),
        ["RandomNormal: mean is NaN; it must be finite"] = tape => tape.RandomNormal(float.NaN, 1, 2),
        ["RandomUniform: low is 2 and high is 1; high - low must be finite and at least 0"] = tape => tape.RandomUniform(2, 1, 2),
        ["Add: an operand is null"] = tape => _ = tape.Ones(2) + (Tensor)null!,
        ["Multiply: an operand is null"] = tape => _ = (Tensor)null! * tape.Ones(2),
        ["Add: input is null"] = tape => tape.Add(tape.Ones(2), null!),
        ["MatMul: b is null"] = tape => tape.MatMul(tape.Ones(2), null!),
        ["Sum: x is null"] = tape => tape.Sum(null!),
        ["Concat: part is null"] = tape => tape.Concat([tape.Ones(2), null!]),
        ["ScatterAdd: source is null"] = tape => tape.ScatterAdd(tape.Ones(2), 0, [0], null!),
        ["MseLoss: target is null"] = tape => tape.MseLoss(tape.Ones(2), null!),
        ["Conv2d: weight is null"] = tape => tape.Conv2d(tape.Ones(1, 1, 2, 2), null!),
        ["Linear: weight is null"] = tape => tape.Linear(tape.Ones(1, 2), null!, null),
        ["RmsNorm: weight is null"] = tape => tape.RmsNorm(tape.Ones(1, 2), null!, 1),
        ["attention: settings is null"] = tape => tape.SelfAttention(tape.Ones(1, 3), 1, null!),
        ["Clamp: the lower limit 2 is above the upper limit 1"] = tape => tape.Clamp(tape.Ones(2), 2, 1),
        ["MatMul: 2×3 and 4×5: inner sizes 3 and 4 differ"] = tape => tape.MatMul(tape.Ones(2, 3), tape.Ones(4, 5)),
        ["MatMul: 3×2 and 4×5: inner sizes 3 and 5 differ"] = tape => tape.MatMul(tape.Ones(3, 2), tape.Ones(4, 5), true, true),
        ["MatMul: a scalar and 4×5: a scalar is not a matrix"] = tape => tape.MatMul(tape.Ones(), tape.Ones(4, 5)),
        ["MatMul: [4] and 4×5: a vector cannot be transposed"] = tape => tape.MatMul(tape.Ones(4), tape.Ones(4, 5), transposeA: true),
        ["MatMul: [2] and [3] cannot be broadcast"] = tape => tape.MatMul(tape.Ones(2, 1, 1), tape.Ones(3, 1, 1)),
        ["Sum: 2×3 has no axis 2; its axes are -2 to 1"] = tape => tape.Sum(tape.Ones(2, 3), [2]),
        ["Sum: axis -1 of 2×3 is named twice"] = tape => tape.Sum(tape.Ones(2, 3), [1, -1]),
        ["Softmax: a scalar has no axis -1; its axes are none"] = tape => tape.Softmax(tape.Ones()),
        ["Max: 2×0 has no elements to choose from"] = tape => tape.Max(tape.Ones(2, 0)),
        ["ArgMax: axis 1 of 2×0 has no elements"] = tape => tape.ArgMax(tape.Ones(2, 0), 1),
        ["Norm: the order must be positive"] = tape => tape.Norm(tape.Ones(2), order: 0),
        ["Reshape: 2×3 has 6 elements, which do not fill 4×2"] = tape => tape.Reshape(tape.Ones(2, 3), 4, 2),
        ["Reshape: 2×3 has 6 elements, which cannot be divided into 4×-1"] = tape => tape.Reshape(tape.Ones(2, 3), 4, -1),
        ["Reshape: 2×3 has 6 elements, which do not fill -2×-3"] = tape => tape.Reshape(tape.Ones(2, 3), -2, -3),
        ["Flatten: axis 0 of 2×3 comes before axis 1"] = tape => tape.Flatten(tape.Ones(2, 3), 1, 0),
        ["Squeeze: axis 1 of 2×3 has 3 elements"] = tape => tape.Squeeze(tape.Ones(2, 3), 1),
        ["Unsqueeze: 2×3 has no axis 3"] = tape => tape.Unsqueeze(tape.Ones(2, 3), 3),
        ["Permute: 2×3 has 2 axes; 1 are named"] = tape => tape.Permute(tape.Ones(2, 3), 1),
        ["Permute: axis 0 of 2×3 is named twice"] = tape => tape.Permute(tape.Ones(2, 3), 0, 0),
        ["Slice: 1..4 does not lie within axis 1 of 2×3"] = tape => tape.Slice(tape.Ones(2, 3), 1, 1..4),
        ["Slice: ^4..^0 does not lie within axis 1 of 2×3"] = tape => tape.Slice(tape.Ones(2, 3), 1, ^4..),
        ["Slice: the step must not be 0"] = tape => tape.Slice(tape.Ones(2, 3), 1, .., 0),
        ["Select: axis 1 of 2×3 has no index 3"] = tape => tape.Select(tape.Ones(2, 3), 1, 3),
        ["Split: parts of 1, 1 add up to 2; axis 1 of 2×3 has 3"] = tape => tape.Split(tape.Ones(2, 3), 1, 1, 1),
        ["Chunk: axis 1 of 2×3 cannot be split into 2 equal parts"] = tape => tape.Chunk(tape.Ones(2, 3), 2, 1),
        ["Concat: 2×3 and 3×3 cannot be joined along axis 1"] = tape => tape.Concat([tape.Ones(2, 3), tape.Ones(3, 3)], 1),
        ["Concat: no tensors are given"] = tape => tape.Concat([]),
        ["Stack: 2×3 and 3×2 have different shapes"] = tape => tape.Stack([tape.Ones(2, 3), tape.Ones(3, 2)]),
        ["Pad: 3 paddings for 2×3"] = tape => tape.Pad(tape.Ones(2, 3), [(0, 0), (0, 0), (0, 0)]),
        ["Pad: axis 1 of 2×3 has a negative padding"] = tape => tape.Pad(tape.Ones(2, 3), [(-1, 0)]),
        ["Expand: 2×3 cannot be broadcast to 2×4"] = tape => tape.Expand(tape.Ones(2, 3), 2, 4),
        ["Expand: 2×3 cannot be broadcast to [3]"] = tape => tape.Expand(tape.Ones(2, 3), 3),
        ["IndexSelect: index 3 lies outside axis 1 of 2×3"] = tape => tape.IndexSelect(tape.Ones(2, 3), 1, [0, 3]),
        ["IndexSelect: index -1 lies outside axis 0 of 2×3"] = tape => tape.IndexSelect(tape.Ones(2, 3), 0, [-1]),
        ["IndexAdd: 2 indices into axis 1 of 2×3 require a source of 2×2, not 2×3"] = tape => tape.IndexAdd(tape.Ones(2, 3), 1, [0, 1], tape.Ones(2, 3)),
        ["Gather: index 3 lies outside axis 1 of 2×3"] = tape => tape.Gather(tape.Ones(2, 3), 1, [0, 3]),
        ["Gather: 3 indices cannot be divided evenly among the 2 lines of 2×3 along axis 1"] = tape => tape.Gather(tape.Ones(2, 3), 1, [0, 1, 2]),
        ["ScatterAdd: 2 indices into axis 1 of 2×3 require a source of 2×1, not 2×3"] = tape => tape.ScatterAdd(tape.Ones(2, 3), 1, [0, 1], tape.Ones(2, 3)),
        ["OneHot: index 3 is not below the number of classes, 3"] = tape => tape.OneHot([3], 3),
        ["CrossEntropy: 1 targets for 2 rows of logits 2×3"] = tape => tape.CrossEntropy(tape.Ones(2, 3), [0]),
        ["CrossEntropy: target 3 of row 1 is neither one of 3 classes nor the ignored target -100"] = tape => tape.CrossEntropy(tape.Ones(2, 3), [0, 3]),
        ["CrossEntropy: target -1 of row 0 is neither one of 3 classes"] = tape => tape.CrossEntropy(tape.Ones(2, 3), [-1, 0]),
        ["CrossEntropy: label smoothing lies in [0, 1]"] = tape => tape.CrossEntropy(tape.Ones(2, 3), [0, 0], labelSmoothing: 1.5f),
        ["MseLoss: [2] and [3] cannot be broadcast"] = tape => tape.MseLoss(tape.Ones(2), tape.Ones(3)),
        ["MseLoss: a target of [3] cannot be broadcast to the shape 3×1"] = tape => tape.MseLoss(tape.Ones(3, 1), tape.Ones(3)),
        ["KlDivergence: a target of 2×3 cannot be broadcast to the shape [3]"] = tape => tape.KlDivergence(tape.Ones(3), tape.Ones(2, 3)),
        ["HuberLoss: delta must be positive"] = tape => tape.HuberLoss(tape.Ones(2), tape.Ones(2), 0),
        ["Conv2d: images are batch × channels × height × width, not 3×4×4"] = tape => tape.Conv2d(tape.Ones(3, 4, 4), tape.Ones(1, 3, 2, 2)),
        ["Conv2d: images 1×4×4×4 and weight 2×3×2×2 with 1 groups"] = tape => tape.Conv2d(tape.Ones(1, 4, 4, 4), tape.Ones(2, 3, 2, 2)),
        ["Conv2d: a window of 5×5 (dilation 1) does not fit images of 4×4 with padding 0"] = tape => tape.Conv2d(tape.Ones(1, 1, 4, 4), tape.Ones(1, 1, 5, 5)),
        ["Conv2d: a bias of [3] for 2 outputs"] = tape => tape.Conv2d(tape.Ones(1, 1, 4, 4), tape.Ones(2, 1, 2, 2), tape.Ones(3)),
        ["Conv1d: 1×4×4×4 and 2×3×2 are not batch × channels × length"] = tape => tape.Conv1d(tape.Ones(1, 4, 4, 4), tape.Ones(2, 3, 2)),
        ["MaxPool2d: a padding of 2 is more than half a window of 2"] = tape => tape.MaxPool2d(tape.Ones(1, 1, 4, 4), 2, 2, 2),
        ["AvgPool2d: a window of 2×2, stride 0"] = tape => tape.AvgPool2d(tape.Ones(1, 1, 4, 4), 2, 0),
        ["Pad: axis 1 of 2×3 would become 4294967297 long; an axis has at most 2³¹ - 1 elements"] = tape => tape.Pad(tape.Ones(2, 3), [(int.MaxValue, int.MaxValue)]),
        ["Pad: a tensor of 2147483647×2147483647 would have more than 2⁶⁰ elements"] = tape => tape.Pad(tape.Ones(1, 1), [(int.MaxValue - 1, 0), (0, int.MaxValue - 1)]),
        ["Full: a tensor of 1048576×1048576×1048577 would have more than 2⁶⁰ elements"] = tape => tape.Zeros(1 << 20, 1 << 20, (1 << 20) + 1),
        ["Expand: a tensor of 2147483647×2147483647×4 would"] = tape => tape.Expand(tape.Ones(), int.MaxValue, int.MaxValue, 4),
        ["Reshape: a tensor of 2147483647×2147483647×4 would"] = tape => tape.Reshape(tape.Ones(4), int.MaxValue, int.MaxValue, 4),
        ["Flatten: a tensor of 2147483647×2147483647×2147483647 would"] = tape => tape.Flatten(tape.Zeros(int.MaxValue, int.MaxValue, int.MaxValue, 0), 0, 2),
        ["Flatten: axis 0 of 65536×65536×0 would become 4294967296 long"] = tape => tape.Flatten(tape.Zeros(1 << 16, 1 << 16, 0), 0, 1),
        ["Concat: axis 0 of 2147483647×0 would become 4294967294 long"] = tape => tape.Concat([tape.Zeros(int.MaxValue, 0), tape.Zeros(int.MaxValue, 0)]),
        ["MatMul: 65536×65536×1×0 and 0×1: there are more than 2³¹ - 1 products"] = tape => tape.MatMul(tape.Zeros(1 << 16, 1 << 16, 1, 0), tape.Zeros(0, 1)),
        ["Constant: 3 values do not fill 2×2"] = tape => tape.Constant([1, 2, 3], 2, 2),
        ["Full: -1×2 has a negative size"] = tape => tape.Zeros(-1, 2),
        ["Reshape: 2×3 has 6 elements, which cannot be divided into -1×-1"] = tape => tape.Reshape(tape.Ones(2, 3), -1, -1),
    };

    [Theory]
    [MemberData(nameof(Names))]
    public void IsRefusedInWords(string message)
    {
        var tape = new Tape(device);
        ArgumentException e = Assert.ThrowsAny<ArgumentException>(() => Wrong[message](tape));
        Assert.StartsWith(message, e.Message, StringComparison.Ordinal);
        tape.Reset();
        Assert.Equal(0, device.Pool.UsedBytes);
    }

    [Fact]
    public void MissingTensorsAreRefusedByName()
    {
        using var tape = new Tape(device);
        Tensor x = tape.Ones(2, 3);
        var none = (Tensor)null!;
        Assert.Throws<ArgumentNullException>(() => tape.Add(x, none));
        Assert.Throws<ArgumentNullException>(() => tape.Linear(x, none, null));
        Assert.Throws<ArgumentNullException>(() => tape.Linear(none, x, null));
        Assert.Throws<ArgumentNullException>(() => tape.Affine(none, 2));
        Assert.Throws<ArgumentNullException>(() => x * none);
    }

    public void Dispose() => device.Dispose();
}
