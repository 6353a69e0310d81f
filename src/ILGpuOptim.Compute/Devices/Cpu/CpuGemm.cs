using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Called when a rectangle of C is final and still in cache; the rectangles are disjoint and cover C.</summary>
internal interface IGemmEpilogue
{
    void Invoke(int row, int rows, int column, int columns, int worker);
}

/// <summary>
/// Matrix product by packed panels. B is packed once for all rows; A is read where it lies unless it is transposed or
/// narrow. The k dimension is cut at places that depend on k alone, so every thread count gives the same bits.
/// </summary>
internal sealed unsafe class CpuGemm(WorkerPool pool) : IDisposable
{
    private const int MostDepth = 768;
    private const int PackedFloats = 1 << 20;
    private const int MostRowsPerItem = 192;

    private float* packed;
    private float* strips;
    private long packedLength;
    private long stripLength;

    /// <summary>C = alpha · op(A) · op(B) + beta · C, then <paramref name="epilogue"/>.</summary>
    public void Run<L, E>(in GemmOperand a, in GemmOperand b, float* c, int strideC, int m, int n, int k, float alpha, float beta, ref E epilogue)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        if (m == 0 || n == 0)
            return;
        if (m <= DotWork<L, E>.MostRows && b.Transposed && !a.Transposed)
        {
            var dots = new DotWork<L, E> { A = a, B = b, C = c, StrideC = strideC, M = m, N = n, K = k, Alpha = alpha, Beta = beta, Epilogue = epilogue, Scratch = Strips(a.Type == DType.F32 && b.Type == DType.F32 ? 0 : (DotWork<L, E>.MostRows + 1) * k) };
            dots.ScratchPerWorker = stripLength;
            pool.Run((n + DotWork<L, E>.Columns - 1) / DotWork<L, E>.Columns, ref dots);
            return;
        }

        if (m == 1 && b.IsPlain && a.Type == DType.F32 && k > 0)
        {
            var row = new RowWork<L, E> { A = a, B = b, C = c, N = n, K = k, Alpha = alpha, Beta = beta, Epilogue = epilogue };
            pool.Run((n + RowWork<L, E>.Columns - 1) / RowWork<L, E>.Columns, ref row);
            return;
        }

        int width = 2 * L.Count, tileRows = GemmTiles.Rows<L>();
        int depths = Math.Max(1, (k + MostDepth - 1) / MostDepth);
        int depth = (k + depths - 1) / depths;
        int block = Math.Min((n + width - 1) / width, Math.Max(1, PackedFloats / (Math.Max(depth, 1) * width)));
        bool direct = b.IsPlain && m <= tileRows;
        Reserve((long)Math.Max(depth, 1) * width * block);
        int rowsPerItem = Math.Min(MostRowsPerItem, Math.Max(1, (m / 8 + tileRows - 1) / tileRows) * tileRows);
        for (int panel = 0; panel * width < n; panel += block)
        {
            int panels = Math.Min(block, (n + width - 1) / width - panel);
            for (int d = 0; d < depths; d++)
            {
                int k0 = d * depth;
                var work = new TileWork<L, E>
                {
                    A = a,
                    B = b,
                    C = c,
                    StrideC = strideC,
                    M = m,
                    N = n,
                    FirstColumn = panel * width,
                    Panels = panels,
                    K0 = k0,
                    Depth = Math.Min(depth, k - k0),
                    Alpha = alpha,
                    Beta = d == 0 ? beta : 1,
                    IsLast = d == depths - 1,
                    Direct = direct,
                    Packed = packed,
                    Epilogue = epilogue,
                    RowsPerItem = rowsPerItem,
                };
                int rowItems = (m + rowsPerItem - 1) / rowsPerItem;
                work.PanelsPerItem = Math.Max(1, Math.Min(panels, panels * rowItems / 12));
                work.ColumnItems = (panels + work.PanelsPerItem - 1) / work.PanelsPerItem;
                work.Strips = Strips((long)(rowsPerItem + tileRows) * Math.Max(depth, 1) + tileRows * width);
                work.StripLength = stripLength;
                if (!direct)
                {
                    var packing = new PackWork<L> { B = b, Packed = packed, N = n, FirstColumn = work.FirstColumn, K0 = k0, Depth = work.Depth };
                    pool.Run(panels, ref packing);
                }

                pool.Run(rowItems * work.ColumnItems, ref work);
            }
        }
    }

    private void Reserve(long floats)
    {
        if (floats <= packedLength)
            return;
        NativeMemory.AlignedFree(packed);
        packed = (float*)NativeMemory.AlignedAlloc((nuint)floats * sizeof(float), 64);
        packedLength = floats;
    }

    /// <summary>Room of <paramref name="floats"/> for each worker, <see cref="stripLength"/> apart.</summary>
    private float* Strips(long floats)
    {
        floats = (floats + 15) & ~15L;
        if (floats > stripLength)
        {
            NativeMemory.AlignedFree(strips);
            strips = (float*)NativeMemory.AlignedAlloc((nuint)(floats * pool.Threads) * sizeof(float), 64);
            stripLength = floats;
        }

        return strips;
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(packed);
        NativeMemory.AlignedFree(strips);
        packed = strips = null;
        packedLength = stripLength = 0;
    }

    private struct PackWork<L> : IWork where L : struct, IVectorLane<L>
    {
        public GemmOperand B;
        public float* Packed;
        public int N, FirstColumn, K0, Depth;

        public readonly void Invoke(int index, int worker)
        {
            int width = 2 * L.Count, column = FirstColumn + index * width, count = Math.Min(width, N - column);
            B.Pack(Packed + (long)index * width * Depth, count <= L.Count ? L.Count : width, column, count, K0, Depth, along: true);
        }
    }

    private struct TileWork<L, E> : IWork
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        public GemmOperand A, B;
        public E Epilogue;
        public float* C;
        public float* Packed;
        public float* Strips;
        public long StripLength;
        public int StrideC, M, N, FirstColumn, Panels, PanelsPerItem, ColumnItems, RowsPerItem, K0, Depth;
        public float Alpha, Beta;
        public bool IsLast, Direct;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int index, int worker)
        {
            int tileRows = GemmTiles.Rows<L>(), width = 2 * L.Count;
            int firstRow = index / ColumnItems * RowsPerItem, endRow = Math.Min(firstRow + RowsPerItem, M);
            int firstPanel = index % ColumnItems * PanelsPerItem, endPanel = Math.Min(firstPanel + PanelsPerItem, Panels);
            float* tile = Strips + worker * StripLength;
            float* strip = tile + tileRows * width;
            bool plain = A.IsPlain;

            // Strips of A that cannot be read in place; the last one also when it has too few rows.
            for (int row = firstRow; row < endRow; row += tileRows)
            {
                if (!plain || endRow - row < tileRows)
                    A.Pack(strip + (long)(row - firstRow) * Depth, tileRows, row, Math.Min(tileRows, endRow - row), K0, Depth, along: false);
            }

            for (int panel = firstPanel; panel < endPanel; panel++)
            {
                int column = FirstColumn + panel * width, columns = Math.Min(width, N - column);
                int vectors = columns <= L.Count ? 1 : 2, packedWidth = vectors * L.Count;
                bool inPlace = Direct && columns == packedWidth;
                float* source = inPlace ? B.At(K0, column) : Packed + (long)panel * width * Depth;
                if (Direct && !inPlace)
                    B.Pack(source, packedWidth, column, columns, K0, Depth, along: true);
                for (int row = firstRow; row < endRow; row += tileRows)
                {
                    int rows = Math.Min(tileRows, endRow - row);
                    bool whole = rows == tileRows && columns == packedWidth;
                    bool packedA = !plain || rows < tileRows;
                    float* target = C + (nint)row * StrideC + column;
                    Panel work;
                    work.A = packedA ? strip + (long)(row - firstRow) * Depth : A.At(row, K0);
                    work.RowStrideA = packedA ? 1 : A.Stride;
                    work.StepA = packedA ? tileRows : 1;
                    work.B = source;
                    work.StepB = inPlace ? B.Stride : packedWidth;
                    work.C = whole ? target : tile;
                    work.RowStrideC = whole ? StrideC : width;
                    work.K = Depth;
                    work.Alpha = Alpha;
                    work.Beta = whole ? Beta : 0;
                    GemmTiles.Run<L>(vectors, work);
                    if (!whole)
                        CopyTile(tile, width, target, rows, columns);
                }
            }

            if (IsLast)
            {
                int column = FirstColumn + firstPanel * width;
                Epilogue.Invoke(firstRow, endRow - firstRow, column, Math.Min(FirstColumn + endPanel * width, N) - column, worker);
            }
        }

        private readonly void CopyTile(float* tile, int width, float* target, int rows, int columns)
        {
            for (int row = 0; row < rows; row++, tile += width, target += StrideC)
            {
                for (int j = 0; j < columns; j++)
                    target[j] = Beta == 0 ? tile[j] : MathF.FusedMultiplyAdd(Beta, target[j], tile[j]);
            }
        }
    }

    /// <summary>A few rows times a transposed B, as in decoding: each element is a dot product of two stored rows.</summary>
    private struct DotWork<L, E> : IWork
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        public const int MostRows = 4;
        public const int Columns = 64;
        public GemmOperand A, B;
        public E Epilogue;
        public float* C;
        public float* Scratch;
        public long ScratchPerWorker;
        public int StrideC, M, N, K;
        public float Alpha, Beta;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int index, int worker)
        {
            int first = index * Columns, end = Math.Min(first + Columns, N);
            float* scratch = Scratch + worker * ScratchPerWorker;
            for (int j = first; j < end; j++)
            {
                float* b = B.Widen(j, 0, K, scratch);
                for (int i = 0; i < M; i++)
                {
                    float* a = A.Widen(i, 0, K, scratch + (long)(i + 1) * K);
                    L s0 = default, s1 = default, s2 = default, s3 = default;
                    int k = 0;
                    for (; k <= K - 4 * L.Count; k += 4 * L.Count)
                    {
                        s0 = L.Fma(L.Load(a + k), L.Load(b + k), s0);
                        s1 = L.Fma(L.Load(a + k + L.Count), L.Load(b + k + L.Count), s1);
                        s2 = L.Fma(L.Load(a + k + 2 * L.Count), L.Load(b + k + 2 * L.Count), s2);
                        s3 = L.Fma(L.Load(a + k + 3 * L.Count), L.Load(b + k + 3 * L.Count), s3);
                    }

                    for (; k <= K - L.Count; k += L.Count)
                        s0 = L.Fma(L.Load(a + k), L.Load(b + k), s0);
                    float sum = L.Sum(s0 + s1 + (s2 + s3));
                    for (; k < K; k++)
                        sum = MathF.FusedMultiplyAdd(a[k], b[k], sum);
                    float* c = C + (nint)i * StrideC + j;
                    *c = Beta == 0 ? Alpha * sum : MathF.FusedMultiplyAdd(Beta, *c, Alpha * sum);
                }
            }

            Epilogue.Invoke(0, M, first, end - first, worker);
        }
    }

    /// <summary>One row times a plain B: rows of B are scaled and added, so that B streams by in order.</summary>
    private struct RowWork<L, E> : IWork
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        public const int Columns = 512;
        public GemmOperand A, B;
        public E Epilogue;
        public float* C;
        public int N, K;
        public float Alpha, Beta;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int index, int worker)
        {
            int first = index * Columns, count = Math.Min(Columns, N - first);
            nint step = A.Transposed ? A.Stride : 1;
            float* a = (float*)A.Data;
            float* sums = stackalloc float[Columns];
            new Span<float>(sums, count).Clear();
            for (int k = 0; k < K; k += 4)
            {
                int rows = Math.Min(4, K - k);
                float* b = B.At(k, first);
                if (rows == 4)
                    AddFour(sums, b, count, a[k * step], a[(k + 1) * step], a[(k + 2) * step], a[(k + 3) * step]);
                else
                {
                    for (int r = 0; r < rows; r++)
                    {
                        for (int j = 0; j < count; j++)
                            sums[j] = MathF.FusedMultiplyAdd(a[(k + r) * step], b[r * (nint)B.Stride + j], sums[j]);
                    }
                }
            }

            float* c = C + first;
            for (int j = 0; j < count; j++)
                c[j] = Beta == 0 ? Alpha * sums[j] : MathF.FusedMultiplyAdd(Beta, c[j], Alpha * sums[j]);
            Epilogue.Invoke(0, 1, first, count, worker);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly void AddFour(float* sums, float* b0, int count, float x0, float x1, float x2, float x3)
        {
            float* b1 = b0 + B.Stride, b2 = b1 + B.Stride, b3 = b2 + B.Stride;
            L l0 = L.Splat(x0), l1 = L.Splat(x1), l2 = L.Splat(x2), l3 = L.Splat(x3);
            int j = 0;
            for (; j <= count - L.Count; j += L.Count)
            {
                L sum = L.Fma(l0, L.Load(b0 + j), L.Load(sums + j));
                sum = L.Fma(l1, L.Load(b1 + j), sum);
                sum = L.Fma(l2, L.Load(b2 + j), sum);
                L.Store(L.Fma(l3, L.Load(b3 + j), sum), sums + j);
            }

            for (; j < count; j++)
            {
                float sum = MathF.FusedMultiplyAdd(x0, b0[j], sums[j]);
                sum = MathF.FusedMultiplyAdd(x1, b1[j], sum);
                sum = MathF.FusedMultiplyAdd(x2, b2[j], sum);
                sums[j] = MathF.FusedMultiplyAdd(x3, b3[j], sum);
            }
        }
    }
}
