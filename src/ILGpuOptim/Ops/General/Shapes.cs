using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Arithmetic on shapes: axes from the end, broadcasting, strides.</summary>
internal static class Shapes
{
    /// <summary>A shape for messages: <c>2×3</c>, <c>[3]</c> or <c>a scalar</c>.</summary>
    public static string Text(ReadOnlySpan<int> shape) => shape.IsEmpty ? "a scalar" : Tensor.Text(shape);

    /// <inheritdoc cref="Text(ReadOnlySpan{int})"/>
    public static string Text(this Tensor x) => Text(x.Sizes());

    /// <summary>Requires an operand.</summary>
    /// <exception cref="ArgumentNullException">It is null.</exception>
    public static void NotNull(string operation, [NotNull] object? operand, [CallerArgumentExpression(nameof(operand))] string name = "")
    {
        if (operand is null)
            throw new ArgumentNullException(name, $"{operation}: {name} is null");
    }

    /// <inheritdoc cref="Tensor.LengthOf"/>
    public static long Length(ReadOnlySpan<int> shape, string? operation = null) => Tensor.LengthOf(shape, operation);

    /// <summary>The sizes of an operation's result.</summary>
    /// <exception cref="ArgumentException">There would be more than 2⁶⁰ elements.</exception>
    public static int[] Result(string operation, int[] shape)
    {
        Length(shape, operation);
        return shape;
    }

    /// <summary>The size of a result's axis.</summary>
    /// <exception cref="ArgumentException">It would be above 2³¹ - 1.</exception>
    public static int Size(string operation, Tensor x, int axis, long size) => size <= int.MaxValue
        ? (int)size
        : throw new ArgumentException($"{operation}: axis {axis} of {x.Text()} would become {size} long; an axis has at most 2³¹ - 1 elements", nameof(size));

    /// <summary>The index of an axis that may be negative, counted from the end.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such axis.</exception>
    public static int Axis(string operation, Tensor x, int axis)
    {
        NotNull(operation, x);
        return Axis(operation, x.Text(), x.Shape.Count, axis);
    }

    /// <inheritdoc cref="Axis(string, Tensor, int)"/>
    public static int Axis(string operation, string shape, int rank, int axis)
    {
        if (axis < -rank || axis >= rank)
            throw new ArgumentOutOfRangeException(nameof(axis), axis, $"{operation}: {shape} has no axis {axis}; its axes are {(rank == 0 ? "none" : $"{-rank} to {rank - 1}")}");
        return axis < 0 ? axis + rank : axis;
    }

    /// <summary>Marks the given axes; all if none is given.</summary>
    /// <exception cref="ArgumentException">An axis is named twice.</exception>
    public static bool[] Axes(string operation, Tensor x, ReadOnlySpan<int> axes)
    {
        NotNull(operation, x);
        var meant = new bool[x.Shape.Count];
        if (axes.IsEmpty)
            Array.Fill(meant, true);
        foreach (int given in axes)
        {
            int axis = Axis(operation, x, given);
            if (meant[axis])
                throw new ArgumentException($"{operation}: axis {given} of {x.Text()} is named twice", nameof(axes));
            meant[axis] = true;
        }

        return meant;
    }

    /// <summary>The shape after a reduction.</summary>
    public static int[] Reduced(ReadOnlySpan<int> shape, ReadOnlySpan<bool> axes, bool keepDims)
    {
        var sizes = new List<int>();
        for (int k = 0; k < shape.Length; k++)
        {
            if (!axes[k])
                sizes.Add(shape[k]);
            else if (keepDims)
                sizes.Add(1);
        }

        return [.. sizes];
    }

    /// <summary>The strides of a contiguous array.</summary>
    public static long[] Strides(ReadOnlySpan<int> shape)
    {
        var strides = new long[shape.Length];
        long stride = 1;
        for (int k = shape.Length - 1; k >= 0; k--)
        {
            strides[k] = stride;
            stride *= shape[k];
        }

        return strides;
    }

    /// <summary>The shape that two shapes are broadcast to: aligned at the last axis, an axis of size 1 repeated.</summary>
    /// <exception cref="ArgumentException">They cannot be broadcast.</exception>
    public static int[] Broadcast(string operation, ReadOnlySpan<int> x, ReadOnlySpan<int> y)
    {
        var shape = new int[Math.Max(x.Length, y.Length)];
        for (int k = 1; k <= shape.Length; k++)
        {
            int a = k <= x.Length ? x[^k] : 1, b = k <= y.Length ? y[^k] : 1;
            if (a != b && a != 1 && b != 1)
                throw new ArgumentException($"{operation}: {Text(x)} and {Text(y)} cannot be broadcast to each other: sizes {a} and {b} of axis -{k} differ and neither is 1");
            shape[^k] = a == 1 ? b : a;
        }

        return Result(operation, shape);
    }

    /// <summary>The axes of a copy into a contiguous array, given the source's strides.</summary>
    public static StridedAxis[] CopyAxes(ReadOnlySpan<int> shape, ReadOnlySpan<long> sourceStrides)
    {
        long[] strides = Strides(shape);
        var axes = new StridedAxis[shape.Length];
        for (int k = 0; k < axes.Length; k++)
            axes[k] = new StridedAxis(shape[k], sourceStrides[k], strides[k]);
        return axes;
    }

    /// <summary>The strides that read an array as one of a larger shape that it is broadcast to.</summary>
    public static long[] BroadcastStrides(ReadOnlySpan<int> shape, ReadOnlySpan<int> larger)
    {
        long[] own = Strides(shape), strides = new long[larger.Length];
        for (int k = 1; k <= shape.Length; k++)
            strides[^k] = shape[^k] == larger[^k] ? own[^k] : 0;
        return strides;
    }
}
