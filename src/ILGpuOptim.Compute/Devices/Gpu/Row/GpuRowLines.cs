using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Row programs for OpenCL devices that are CPUs: a group has one thread, which processes whole rows. Totals have
/// sixteen partial sums, so that the compiler can use vector instructions.
/// </summary>
internal static class GpuRowLines
{
    /// <summary>The maximum number of groups.</summary>
    public const int MaxGroups = 64;

    /// <summary>As <see cref="GpuRowKernels.Run"/>.</summary>
    public static void Run<R>(GpuArguments x, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IRowRule
    {
        ArrayView<float> parts = LocalMemory.Allocate<float>(Line.Length);
        long start = (long)Grid.IdxX * x.Across, end = start + x.Across < x.Rows ? start + x.Across : x.Rows;
        int columns = (int)x.Columns, whole = columns / Line.Length * Line.Length;
        for (long row = start; row < end; row++)
        {
            Clear(parts, R.FirstIsMax ? float.NegativeInfinity : 0);
            for (int column = 0; column < whole; column += Line.Length)
            {
                for (int j = 0; j < Line.Length; j++)
                    parts[j] = GpuMapKernels.Join(R.FirstIsMax, parts[j], FirstTerm(x, rule, formats.Value, row, column + j));
            }

            for (int column = whole; column < columns; column++)
                parts[column - whole] = GpuMapKernels.Join(R.FirstIsMax, parts[column - whole], FirstTerm(x, rule, formats.Value, row, column));
            F1 first = rule.First(new F1(Total(parts, R.FirstIsMax))), second = default;
            if (R.HasSecond)
            {
                Clear(parts, 0);
                for (int column = 0; column < whole; column += Line.Length)
                {
                    for (int j = 0; j < Line.Length; j++)
                        parts[j] += SecondTerm(x, rule, formats.Value, first, row, column + j);
                }

                for (int column = whole; column < columns; column++)
                    parts[column - whole] += SecondTerm(x, rule, formats.Value, first, row, column);
                second = rule.Second(first, new F1(Total(parts, false)));
            }

            for (int column = 0; column < columns; column++)
                GpuRowKernels.Element(x, rule, formats.Value, first, second, row, column, row == start);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float FirstTerm<R>(GpuArguments x, R rule, ulong formats, long row, long column) where R : unmanaged, IRowRule
    {
        GpuRowKernels.Load<R>(x, formats, row, column, out F1 a, out F1 b, out F1 c, out F1 d, out F1 e, out F1 f);
        return rule.FirstTerm(a, b, c, d, e, f).Value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SecondTerm<R>(GpuArguments x, R rule, ulong formats, F1 first, long row, long column) where R : unmanaged, IRowRule
    {
        GpuRowKernels.Load<R>(x, formats, row, column, out F1 a, out F1 b, out F1 c, out F1 d, out F1 e, out F1 f);
        return rule.SecondTerm(first, a, b, c, d, e, f).Value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Clear(ArrayView<float> parts, float value)
    {
        for (int j = 0; j < Line.Length; j++)
            parts[j] = value;
    }

    /// <summary>The pairwise reduction of the partial sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Total(ArrayView<float> parts, bool largest)
    {
        for (int width = Line.Length / 2; width > 0; width /= 2)
        {
            for (int j = 0; j < width; j++)
                parts[j] = GpuMapKernels.Join(largest, parts[j], parts[j + width]);
        }

        return parts[0];
    }
}
