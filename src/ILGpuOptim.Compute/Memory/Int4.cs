using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute;

/// <summary>
/// Group-wise 4-bit integers: value = (code − 8) · scale, scale = largest magnitude of the group / 7 (symmetric, linear), so that codes lie between 1 and 15.
/// 16 bytes hold 32 neighbours: byte i has element i in its low half and element i + 16 in its high half. A group of zeros has scale 0; one with NaN
/// or infinity has scale NaN, so that it widens to NaN.
/// </summary>
public static unsafe class Int4
{
    /// <summary>Elements that lie together in 16 bytes.</summary>
    public const int Unit = 32;

    private const int Zero = 8, Largest = 7;

    /// <summary>The offset of the scales of a rectangle, in bytes.</summary>
    public static long Scales(DType type, long rows, long columns) => rows * RowBytes(type, columns);

    /// <summary>The bytes of the codes of a row.</summary>
    public static long RowBytes(DType type, long columns) => type.GroupsOf(columns) * type.GroupOf() / 2;

    /// <summary>Stores a rectangle, each element rounded to the nearest, ties to even.</summary>
    /// <param name="type">The storage type.</param>
    /// <param name="source">rows × columns elements.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="target">As many bytes as <see cref="DTypes.Bytes"/> says.</param>
    public static void Narrow(DType type, ReadOnlySpan<float> source, int columns, Span<byte> target)
    {
        int rows = columns == 0 ? 0 : source.Length / columns, group = type.GroupOf(), groups = (int)type.GroupsOf(columns), rowBytes = (int)RowBytes(type, columns);
        Span<byte> scales = target[(int)Scales(type, rows, columns)..];
        for (int row = 0; row < rows; row++)
        {
            for (int i = 0; i < groups; i++)
            {
                ReadOnlySpan<float> values = source.Slice(row * columns + i * group, Math.Min(group, columns - i * group));
                BitConverter.TryWriteBytes(scales[((row * groups + i) * sizeof(float))..], Narrow(values, target.Slice(row * rowBytes + i * group / 2, group / 2)));
            }
        }
    }

    /// <summary>The values of a rectangle that <see cref="Narrow(DType, ReadOnlySpan{float}, int, Span{byte})"/> stored.</summary>
    /// <param name="type">The storage type.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="target">rows × columns elements.</param>
    public static void Widen(DType type, ReadOnlySpan<byte> source, int columns, Span<float> target)
    {
        int rows = columns == 0 ? 0 : target.Length / columns;
        fixed (byte* bytes = source)
        fixed (float* values = target)
        {
            float* scales = (float*)(bytes + Scales(type, rows, columns));
            for (int row = 0; row < rows; row++)
                Widen(bytes + row * RowBytes(type, columns), scales + row * type.GroupsOf(columns), type.GroupOf(), 0, columns, values + (nint)row * columns);
        }
    }

    /// <summary>Widens adjacent elements of a row.</summary>
    /// <param name="codes">The row's codes.</param>
    /// <param name="scales">The row's scales.</param>
    /// <param name="group">Elements of a group.</param>
    /// <param name="column">The first element.</param>
    /// <param name="count">The number of elements.</param>
    /// <param name="target">As many floats.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(byte* codes, float* scales, int group, int column, int count, float* target)
    {
        int end = column + count;
        while (column < end)
        {
            int unit = column / Unit * Unit;
            float scale = scales[column / group];
            byte* bytes = codes + unit / 2;
            if (column == unit && end - column >= Unit)
            {
                Vector128<byte> both = Vector128.Load(bytes);
                Widen(both & Vector128.Create((byte)15), scale, target);
                Widen(Vector128.ShiftRightLogical(both.AsUInt16(), 4).AsByte() & Vector128.Create((byte)15), scale, target + Unit / 2);
                column += Unit;
                target += Unit;
                continue;
            }

            for (int last = Math.Min(end, unit + Unit); column < last; column++)
                *target++ = (Code(bytes[column & 15], column) - Zero) * scale;
        }
    }

    /// <summary>The code of an element within its byte.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Code(int pair, int column) => (column & 16) == 0 ? pair & 15 : pair >> 4;

    /// <summary>(code − 8) · scale of 16 codes, in the widest vectors of the processor: the same bits in all.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Widen(Vector128<byte> codes, float scale, float* target)
    {
        if (Avx512F.IsSupported)
        {
            Vector512<float> all = Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(codes));
            ((all - Vector512.Create((float)Zero)) * scale).Store(target);
            return;
        }

        if (Avx2.IsSupported)
        {
            Vector256<float> first = Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(codes)), second = Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(codes, 8)));
            ((first - Vector256.Create((float)Zero)) * scale).Store(target);
            ((second - Vector256.Create((float)Zero)) * scale).Store(target + 8);
            return;
        }

        (Vector128<short> low, Vector128<short> high) = Vector128.Widen((codes - Vector128.Create((byte)Zero)).AsSByte());
        (Vector128<int> a, Vector128<int> b) = Vector128.Widen(low);
        (Vector128<int> c, Vector128<int> d) = Vector128.Widen(high);
        (Vector128.ConvertToSingle(a) * scale).Store(target);
        (Vector128.ConvertToSingle(b) * scale).Store(target + 4);
        (Vector128.ConvertToSingle(c) * scale).Store(target + 8);
        (Vector128.ConvertToSingle(d) * scale).Store(target + 12);
    }

    /// <summary>Stores a group and returns its scale. Elements beyond the row are stored as zeros.</summary>
    private static float Narrow(ReadOnlySpan<float> values, Span<byte> target)
    {
        float largest = 0;
        foreach (float value in values)
            largest = Math.Max(largest, Float8.Magnitude(value));
        bool isFinite = largest < float.PositiveInfinity, isZero = largest < Float8.Smallest;
        float inverse = isFinite && !isZero ? Largest / largest : 0;
        for (int i = 0; i < 2 * target.Length; i++)
        {
            int code = Zero + (i < values.Length && inverse > 0 ? (int)Math.Clamp(MathF.Round(values[i] * inverse), -Largest, Largest) : 0);
            ref byte pair = ref target[i / Unit * (Unit / 2) + (i & 15)];
            pair = (byte)((i & 16) == 0 ? code : pair | code << 4);
        }

        return isFinite ? isZero ? 0 : largest / Largest : float.NaN;
    }
}
