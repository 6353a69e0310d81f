using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Row programs: a group processes one row at a time and reduces in shared memory.</summary>
internal static class GpuRowKernels
{
    /// <summary>The maximum number of threads of a group.</summary>
    public const int MaxThreads = 256;

    /// <summary>
    /// Runs a program over <see cref="GpuArguments.Across"/> rows per group. Sums over rows are accumulated in
    /// the group's row of partial sums.
    /// </summary>
    public static void Run<R>(GpuArguments x, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IRowRule
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(MaxThreads);
        long start = (long)Grid.IdxX * x.Across, end = start + x.Across < x.Rows ? start + x.Across : x.Rows;
        for (long row = start; row < end; row++)
        {
            float total = R.FirstIsMax ? float.NegativeInfinity : 0;
            for (long column = Group.IdxX; column < x.Columns; column += Group.DimX)
            {
                Load<R>(x, formats.Value, row, column, out F1 a, out F1 b, out F1 c, out F1 d, out F1 e, out F1 f);
                total = GpuMapKernels.Join(R.FirstIsMax, total, rule.FirstTerm(a, b, c, d, e, f).Value);
            }

            F1 first = rule.First(new F1(Reduce(shared, total, Group.DimX, R.FirstIsMax))), second = default;
            if (R.HasSecond)
            {
                total = 0;
                for (long column = Group.IdxX; column < x.Columns; column += Group.DimX)
                {
                    Load<R>(x, formats.Value, row, column, out F1 a, out F1 b, out F1 c, out F1 d, out F1 e, out F1 f);
                    total += rule.SecondTerm(first, a, b, c, d, e, f).Value;
                }

                second = rule.Second(first, new F1(Reduce(shared, total, Group.DimX, false)));
            }

            for (long column = Group.IdxX; column < x.Columns; column += Group.DimX)
                Element(x, rule, formats.Value, first, second, row, column, row == start);
        }
    }

    /// <summary>The map over one element of a row. Terms of sums are added to the group's partial sums; its first row initializes them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Element<R>(GpuArguments x, R rule, ulong formats, F1 first, F1 second, long row, long column, bool isFirst) where R : unmanaged, IRowRule
    {
        Load<R>(x, formats, row, column, out F1 a, out F1 b, out F1 c, out F1 d, out F1 e, out F1 f);
        rule.Map(first, second, ref a, ref b, ref c, ref d, ref e, ref f);
        Finish<R>(x, x.A, 0, formats, row, column, isFirst, a);
        Finish<R>(x, x.B, 1, formats, row, column, isFirst, b);
        Finish<R>(x, x.C, 2, formats, row, column, isFirst, c);
        Finish<R>(x, x.D, 3, formats, row, column, isFirst, d);
        Finish<R>(x, x.E, 4, formats, row, column, isFirst, e);
        Finish<R>(x, x.F, 5, formats, row, column, isFirst, f);
    }

    /// <summary>
    /// The sum or maximum of all threads' values: a tree reduction in shared memory, whose order depends only on the number of threads
    /// (a power of two). All threads of the group must call it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Reduce(ArrayView<float> shared, float value, int threads, bool largest)
    {
        int thread = Group.IdxX;
        shared[thread] = value;
        Group.Barrier();
        for (int width = threads / 2; width > 0; width /= 2)
        {
            if (thread < width)
                shared[thread] = GpuMapKernels.Join(largest, shared[thread], shared[thread + width]);
            Group.Barrier();
        }

        value = shared[0];
        Group.Barrier();
        return value;
    }

    /// <summary>Loads the operands that the rule reads.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Load<R>(GpuArguments x, ulong formats, long row, long column, out F1 a, out F1 b, out F1 c, out F1 d, out F1 e, out F1 f)
        where R : unmanaged, IRule
    {
        a = R.Access.Reads(0) ? GpuOperand.Load(x.A, GpuFormats.At(formats, 0), row, column) : default;
        b = R.Access.Reads(1) ? GpuOperand.Load(x.B, GpuFormats.At(formats, 1), row, column) : default;
        c = R.Access.Reads(2) ? GpuOperand.Load(x.C, GpuFormats.At(formats, 2), row, column) : default;
        d = R.Access.Reads(3) ? GpuOperand.Load(x.D, GpuFormats.At(formats, 3), row, column) : default;
        e = R.Access.Reads(4) ? GpuOperand.Load(x.E, GpuFormats.At(formats, 4), row, column) : default;
        f = R.Access.Reads(5) ? GpuOperand.Load(x.F, GpuFormats.At(formats, 5), row, column) : default;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<R>(GpuArguments x, GpuOperand operand, int k, ulong formats, long row, long column, bool isFirst, F1 value)
        where R : unmanaged, IRule
    {
        uint format = GpuFormats.At(formats, k);
        if (R.Access.Writes(k) && (GpuFormats.LayoutOf(format) == Layout.Full || column == 0))
            GpuOperand.Store(operand, format, row, column, value);
        if (R.Access.Reduces(k))
        {
            long index = Grid.IdxX * x.Columns + column;
            operand.Factor[index] = isFirst ? value.Value : operand.Factor[index] + value.Value;
        }
    }
}
