using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>What a product's kernel gets beside its epilogue.</summary>
internal struct GpuGemmArguments
{
    public ArrayView<byte> A, B;
    public ArrayView<float> C;

    /// <summary>The epilogue's operands after C.</summary>
    public GpuOperand Second, Third, Fourth, Fifth, Sixth;
    public int M, N, K, StrideA, StrideB, StrideC, TilesN, TilesM;
    public long BatchStrideA, BatchStrideB, BatchStrideC;
    public float Alpha, Beta;
}

/// <summary>
/// Matrix products: a group computes a square tile of C; strips of A and B pass through shared memory; each thread keeps
/// 4 × 4 results in registers, 16 apart, so that neighbouring threads read neighbouring banks and store neighbouring columns.
/// </summary>
internal static class GpuGemmKernels
{
    /// <summary>Edge of a group's tile, depth of a strip, and threads of a group.</summary>
    public const int Tile = 64, Depth = 16, Threads = 256;

    /// <summary>Rows of strips are padded by one, so that a transposing store meets different banks.</summary>
    private const int Pitch = Tile + 1;

    private const ulong BetaBit = 1UL << 57;

    /// <summary>The constants of a kernel: formats of the epilogue's operands, transpositions and storage of A and B, and whether C is read.</summary>
    public static ulong Formats(in GemmArguments g, ReadOnlySpan<Operand> operands)
    {
        ulong result = (g.TransposeA ? 1UL : 0) | (g.TransposeB ? 2UL : 0) | (ulong)g.A.Type << 2 | (ulong)g.B.Type << 5 | (g.Beta != 0 ? BetaBit : 0);
        for (int k = 0; k < operands.Length; k++)
            result |= GpuFormats.One(operands[k]) << (8 * (k + 1));
        return result;
    }

    public static void Run<R>(GpuGemmArguments x, R epilogue, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        ArrayView<float> stripA = SharedMemory.Allocate<float>(Depth * Pitch), stripB = SharedMemory.Allocate<float>(Depth * Pitch);
        int tiles = x.TilesM * x.TilesN, batch = Grid.IdxX / tiles, tile = Grid.IdxX - batch * tiles;
        int top = tile / x.TilesN * Tile, left = (tile - tile / x.TilesN * x.TilesN) * Tile;
        int i = Group.IdxX / 16, j = Group.IdxX % 16;
        bool transposeA = (formats.Value & 1) != 0, transposeB = (formats.Value & 2) != 0;
        DType typeA = (DType)(formats.Value >> 2 & 7), typeB = (DType)(formats.Value >> 5 & 7);
        long startA = batch * x.BatchStrideA, startB = batch * x.BatchStrideB;

        float c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0;
        float c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0;
        for (int depth = 0; depth < x.K; depth += Depth)
        {
            // A is stored along k unless transposed, B along k when transposed; neighbouring threads follow the storage.
            for (int t = Group.IdxX; t < Tile * Depth; t += Threads)
            {
                int m = transposeA ? t % Tile : t / Depth, k = transposeA ? t / Tile : t % Depth;
                stripA[k * Pitch + m] = Read(x.A, typeA, startA, transposeA, top + m, depth + k, x.M, x.K, x.StrideA);
            }

            for (int t = Group.IdxX; t < Tile * Depth; t += Threads)
            {
                int n = transposeB ? t / Depth : t % Tile, k = transposeB ? t % Depth : t / Tile;
                stripB[k * Pitch + n] = Read(x.B, typeB, startB, !transposeB, left + n, depth + k, x.N, x.K, x.StrideB);
            }

            Group.Barrier();
            for (int k = 0; k < Depth; k++)
            {
                int row = k * Pitch + i, column = k * Pitch + j;
                float a0 = stripA[row], a1 = stripA[row + 16], a2 = stripA[row + 32], a3 = stripA[row + 48];
                float b0 = stripB[column], b1 = stripB[column + 16], b2 = stripB[column + 32], b3 = stripB[column + 48];
                c00 = MathF.FusedMultiplyAdd(a0, b0, c00);
                c01 = MathF.FusedMultiplyAdd(a0, b1, c01);
                c02 = MathF.FusedMultiplyAdd(a0, b2, c02);
                c03 = MathF.FusedMultiplyAdd(a0, b3, c03);
                c10 = MathF.FusedMultiplyAdd(a1, b0, c10);
                c11 = MathF.FusedMultiplyAdd(a1, b1, c11);
                c12 = MathF.FusedMultiplyAdd(a1, b2, c12);
                c13 = MathF.FusedMultiplyAdd(a1, b3, c13);
                c20 = MathF.FusedMultiplyAdd(a2, b0, c20);
                c21 = MathF.FusedMultiplyAdd(a2, b1, c21);
                c22 = MathF.FusedMultiplyAdd(a2, b2, c22);
                c23 = MathF.FusedMultiplyAdd(a2, b3, c23);
                c30 = MathF.FusedMultiplyAdd(a3, b0, c30);
                c31 = MathF.FusedMultiplyAdd(a3, b1, c31);
                c32 = MathF.FusedMultiplyAdd(a3, b2, c32);
                c33 = MathF.FusedMultiplyAdd(a3, b3, c33);
            }

            Group.Barrier();
        }

        StoreRow(x, epilogue, formats.Value, batch, top + i, left + j, c00, c01, c02, c03);
        StoreRow(x, epilogue, formats.Value, batch, top + i + 16, left + j, c10, c11, c12, c13);
        StoreRow(x, epilogue, formats.Value, batch, top + i + 32, left + j, c20, c21, c22, c23);
        StoreRow(x, epilogue, formats.Value, batch, top + i + 48, left + j, c30, c31, c32, c33);
    }

    /// <summary>An element of a factor seen as outer × k; 0 outside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Read(ArrayView<byte> data, DType type, long start, bool alongOuter, int outer, int k, int outerSize, int depth, int stride)
    {
        if (outer >= outerSize || k >= depth)
            return 0;
        int line = alongOuter ? k : outer, place = alongOuter ? outer : k;
        long index = start + (long)line * stride + place;
        if (type == DType.BF16)
            return Interop.IntAsFloat((uint)data.Cast<ushort>()[index] << 16);
        if (type == DType.I8)
        {
            // Scales follow the bytes of all rows; 8-bit factors are packed and never batched.
            int lines = alongOuter ? depth : outerSize, blocks = (stride + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
            long scales = ((long)lines * stride + 3) / 4;
            return data.Cast<sbyte>()[index] * data.Cast<float>()[scales + (long)line * blocks + place / DTypes.QuantizedBlock];
        }

        return data.Cast<float>()[index];
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int row, int column, float c0, float c1, float c2, float c3)
        where R : unmanaged, IMap6
    {
        if (row >= x.M)
            return;
        Store(x, epilogue, formats, batch, row, column, c0);
        Store(x, epilogue, formats, batch, row, column + 16, c1);
        Store(x, epilogue, formats, batch, row, column + 32, c2);
        Store(x, epilogue, formats, batch, row, column + 48, c3);
    }

    /// <summary>Turns a product into an element of C by alpha, beta and the epilogue.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int row, int column, float product)
        where R : unmanaged, IMap6
    {
        if (column >= x.N)
            return;
        long index = batch * x.BatchStrideC + (long)row * x.StrideC + column;
        float value = x.Alpha * product;
        if ((formats & BetaBit) != 0)
            value = MathF.FusedMultiplyAdd(x.Beta, x.C[index], value);
        long line = (long)batch * x.M + row;
        F1 a = new(value), b = default, c = default, d = default, e = default, f = default;
        if (R.Access.Reads(1))
            b = GpuOperand.Load(x.Second, GpuFormats.At(formats, 1), line, column);
        if (R.Access.Reads(2))
            c = GpuOperand.Load(x.Third, GpuFormats.At(formats, 2), line, column);
        if (R.Access.Reads(3))
            d = GpuOperand.Load(x.Fourth, GpuFormats.At(formats, 3), line, column);
        if (R.Access.Reads(4))
            e = GpuOperand.Load(x.Fifth, GpuFormats.At(formats, 4), line, column);
        if (R.Access.Reads(5))
            f = GpuOperand.Load(x.Sixth, GpuFormats.At(formats, 5), line, column);
        epilogue.Apply(ref a, ref b, ref c, ref d, ref e, ref f);
        x.C[index] = a.Value;
        if (R.Access.Writes(1))
            GpuOperand.Store(x.Second, GpuFormats.At(formats, 1), line, column, b);
        if (R.Access.Writes(2))
            GpuOperand.Store(x.Third, GpuFormats.At(formats, 2), line, column, c);
        if (R.Access.Writes(3))
            GpuOperand.Store(x.Fourth, GpuFormats.At(formats, 3), line, column, d);
        if (R.Access.Writes(4))
            GpuOperand.Store(x.Fifth, GpuFormats.At(formats, 4), line, column, e);
        if (R.Access.Writes(5))
            GpuOperand.Store(x.Sixth, GpuFormats.At(formats, 5), line, column, f);
    }
}
