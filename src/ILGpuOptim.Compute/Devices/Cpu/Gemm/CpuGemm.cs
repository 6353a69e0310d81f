using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Called when a rectangle of C is final and still in cache; the rectangles are disjoint and cover C.</summary>
internal unsafe interface IGemmEpilogue
{
    /// <summary>Rows count through a batch: matrix b begins at row b · m.</summary>
    /// <param name="c">The first element of the rectangle: in C, or in scratch memory if C is not f32; the epilogue may change the elements.</param>
    /// <param name="stride">Elements from one row at <paramref name="c"/> to the next.</param>
    /// <param name="row">The rectangle's first row.</param>
    /// <param name="rows">The number of rows.</param>
    /// <param name="column">The first column.</param>
    /// <param name="columns">The number of columns.</param>
    /// <param name="worker">The worker that calls.</param>
    void Invoke(float* c, int stride, int row, int rows, int column, int columns, int worker);
}

/// <summary>C of a product. Matrices of a batch lie one after the other if it is bf16.</summary>
internal unsafe struct GemmResult
{
    /// <summary>C as f32; null if it is bf16.</summary>
    public float* Data;

    /// <summary>C as bf16: the old values are read here, and the epilogue writes the new ones. Null if it is f32.</summary>
    public ushort* Narrow;
    public int Stride;
    public long BatchStride;

    /// <summary>Widens a rectangle of old values, if it is bf16.</summary>
    public readonly void Widen(int row, int rows, int column, int columns, float* target, int stride)
    {
        for (int i = 0; i < rows; i++)
            Bf16.Widen(new ReadOnlySpan<ushort>(Narrow + (nint)(row + i) * Stride + column, columns), new Span<float>(target + (nint)i * stride, columns));
    }
}

/// <summary>
/// Matrix product with packed panels. The division of C into items may depend on the number of threads, but no element's sum
/// does: k is divided at positions that depend on the shape only, so every thread count gives the same bits.
/// </summary>
internal sealed unsafe class CpuGemm(WorkerPool pool) : IDisposable
{
    /// <summary>The longest stretch of k: eight rows of A then take a third of the first cache.</summary>
    private const int MaxDepth = 384;

    /// <summary>The stretch for few rows of A: few enough rows of B, which are read once where they lie, to be followed by prefetching.</summary>
    private const int DirectDepth = 32;

    /// <summary>The largest B that is read where it lies by many rows of A: the caches hold it.</summary>
    private const long DirectFloats = 2 << 20;

    /// <summary>A strip of packed B: less than half of a second cache of 1 MiB.</summary>
    private const int StripFloats = 96 * 1024;

    /// <summary>The largest B that is packed whole.</summary>
    private const long SharedFloats = 4 << 20;

    /// <summary>The most room for sums of parts of k.</summary>
    private const long PartialFloats = 8 << 20;

    private const double MinWorkPerItem = 5e5;

    /// <summary>The lines that a set of the first-level data cache holds; 0 if unknown.</summary>
    private static readonly int FirstCacheWays = FindFirstCacheWays();

    /// <summary>The time to pack an element relative to reading it.</summary>
    private const double PackingCost = 12;

    /// <summary>
    /// The time to read an element of B for one more row of items, relative to reading one of A: every tile reads a strip of B from the second-level
    /// cache anyway.
    /// </summary>
    private const double RereadingCost = 0.05;

    /// <summary>The time to widen an element of a row relative to reading it.</summary>
    private const double WideningCost = 1.5;

    /// <summary>The room for an item's results in bf16: half of a second cache of 2 MiB.</summary>
    private const long NarrowFloats = 256 * 1024;

    private const int MaxRowsPerItem = 512;

    /// <summary>The most columns beyond whole vectors that are computed as products of rows; as a vector they would take the time of sixteen columns.</summary>
    private const int MaxDotColumns = 2;

    private Buffer packed, scratch, partials, few, dense, widened;

    /// <summary>C = alpha · op(A) · op(B) + beta · C, then <paramref name="epilogue"/>.</summary>
    public void Run<L, E>(in GemmOperand a, in GemmOperand b, float* c, int strideC, int m, int n, int k, float alpha, float beta, ref E epilogue)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue =>
        Run<L, E>(a, b, new GemmResult { Data = c, Stride = strideC }, 1, m, n, k, alpha, beta, ref epilogue);

    /// <summary>The same for each matrix of a batch.</summary>
    public void Run<L, E>(in GemmOperand a, in GemmOperand b, in GemmResult c, int batch, int m, int n, int k, float alpha, float beta, ref E epilogue)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        if (m == 0 || n == 0 || batch == 0)
            return;
        bool fewRows = m <= GemmDots<L, E>.MaxRows && b.Transposed;
        bool fewColumns = n <= GemmDots<L, E>.MaxRows && !a.Transposed && !fewRows;
        if (batch == 1 && k > 0 && (fewRows || fewColumns))
            RunDots<L, E>(a, b, fewRows, c, m, n, k, alpha, beta, epilogue);
        else
            RunBlocks<L, E>(a, b, c, batch, m, n, k, alpha, beta, epilogue);
    }

    // A method of its own: its large locals are cleared at each call.
    private void RunBlocks<L, E>(in GemmOperand a, in GemmOperand b, in GemmResult c, int batch, int m, int n, int k, float alpha, float beta, in E epilogue)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        var work = new GemmBlocks<L, E>
        {
            A = a,
            B = b,
            C = c,
            M = m,
            N = n,
            K = k,
            Alpha = k == 0 ? 0 : alpha,
            Beta = beta,
            Epilogue = epilogue,
        };
        bool shares = Partition(ref work, batch, out bool copies);
        if (copies && work.ColumnItems > 1)
        {
            work.A = a.Transposed ? Copied(a, k, m) : Copied(a, m, k);
            work.PacksA = false;
        }

        if (work.Parts > 1)
        {
            RunParts(ref work);
            return;
        }

        if (shares)
        {
            work.Shared = packed.Reserve((n + GemmBlocks<L, E>.Width - 1L) / GemmBlocks<L, E>.Width * GemmBlocks<L, E>.Width * k);
            var packing = new GemmBlocks<L, E>.Packing(work);
            pool.Run(packing.Items, ref packing);
        }

        Run(ref work, batch);
    }

    /// <summary>An f32 copy of a matrix that many items read, with rows at different places of the first-level cache.</summary>
    /// <param name="matrix">The matrix.</param>
    /// <param name="rows">The number of stored rows.</param>
    /// <param name="columns">The number of stored columns.</param>
    private GemmOperand Copied(in GemmOperand matrix, int rows, int columns)
    {
        // Rows at the same offset of a page lie in one set of the first-level cache.
        int stride = columns % 1024 == 0 ? columns + 16 : columns;
        var work = new Copying { Matrix = matrix, Target = widened.Reserve((long)rows * stride), Stride = stride, Rows = rows, Columns = columns };
        pool.Run(Quotient(rows, Copying.RowsOfPiece), ref work);
        return new GemmOperand { Data = (byte*)work.Target, Stride = stride, Type = DType.F32, Transposed = matrix.Transposed };
    }

    private struct Copying : IWork
    {
        public const int RowsOfPiece = 16;
        public GemmOperand Matrix;
        public float* Target;
        public int Stride, Rows, Columns;

        public readonly void Invoke(int index, int worker)
        {
            int end = Math.Min(Rows, (index + 1) * RowsOfPiece);
            for (int row = index * RowsOfPiece; row < end; row++)
            {
                float* target = Target + ((nint)row * Stride), source = Matrix.Row(row, 0, Columns, target);
                if (source != target)
                    new ReadOnlySpan<float>(source, Columns).CopyTo(new Span<float>(target, Columns));
            }
        }
    }

    private void Run<L, E>(ref GemmBlocks<L, E> work, int batch)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        work.ScratchPerWorker = work.ScratchFloats() + 15 & ~15L;
        work.Scratch = scratch.Reserve(work.ScratchPerWorker * pool.Threads);
        pool.Run(work.Items(batch), ref work);
    }

    /// <summary>
    /// Chooses ranges and parts of k (by shape), then items; returns whether B is packed once for all. If <paramref name="copies"/>, A is to be copied
    /// first where several columns of items read it.
    /// </summary>
    private bool Partition<L, E>(ref GemmBlocks<L, E> work, int batch, out bool copies)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        int m = work.M, n = work.N, k = work.K, tileRows = GemmTiles.Rows<L>(), width = GemmBlocks<L, E>.Width;
        int over = n % L.Count;
        work.DotColumns = over <= MaxDotColumns && n > width && n <= 4 * width && work.A.IsPlain && work.B.Transposed && work.B.Type == DType.F32 && work.C.Narrow == null ? over : 0;
        int panels = Quotient(n - work.DotColumns, width), rowTiles = Quotient(m, tileRows);
        bool fewRows = work.B.IsPlain && m <= 2 * tileRows;
        work.Direct = fewRows || (work.B.IsPlain && (long)n * k <= DirectFloats);
        int stretches = Math.Max(1, Quotient(k, fewRows ? DirectDepth : MaxDepth));
        work.Depth = Quotient(Quotient(k, stretches), 8) * 8;
        stretches = work.Depth == 0 ? 1 : Quotient(k, work.Depth);
        work.Parts = 1;
        work.StretchesPerPart = stretches;
        if (batch == 1 && !fewRows && k >= 2048 && k / 8 >= Math.Max(m, n))
        {
            long most = Math.Min(32, PartialFloats / ((long)m * panels * width));
            if (most > 1)
            {
                work.StretchesPerPart = (int)Math.Max(2, (stretches + most - 1) / most);
                work.Parts = Quotient(stretches, work.StretchesPerPart);
            }
        }

        // Rows at the same offset of a page lie in one set of the first-level cache.
        work.PacksA = work.A.Type != DType.F32 || (work.A.IsPlain && work.A.Stride % 1024 == 0 && panels > 1 && FirstCacheWays <= tileRows);
        double flops = 2.0 * m * n * k * batch;
        int wanted = Quotient((int)Math.Clamp(flops / MinWorkPerItem, 1, 8 * pool.Threads), batch * work.Parts);
        bool shares = batch == 1 && work.Parts == 1 && !work.Direct && wanted > 1 && (long)panels * width * k <= SharedFloats && (m >= n || !(work.A.Type == DType.F32 || work.A.Widens));
        work.StripPanels = Math.Max(1, Math.Min(8, StripFloats / (width * Math.Max(work.Depth, 1))));

        // A in bf16, or with rows in one set of the first-level cache, is copied once instead of packed by many items.
        copies = (work.A.Widens || (work.A.IsPlain && work.PacksA && !shares)) && batch == 1 && (long)m * k <= SharedFloats;

        // Each column of items reads A once and each row of items reads B once.
        double ofA = (work.A.Widens ? WideningCost : work.PacksA && !copies ? PackingCost : 1) * m, ofB = (shares || work.Direct ? RereadingCost : PackingCost) * n, least = double.MaxValue;
        int fewest = Quotient(m, MaxRowsPerItem), rowItems = fewest;
        for (int items = fewest; items <= Math.Max(fewest, Math.Min(wanted, m / tileRows)); items++)
        {
            double cost = ofA * Math.Min(panels, Quotient(wanted, items)) + ofB * items;
            if (cost < least)
                (least, rowItems) = (cost, items);
        }

        work.PanelsPerItem = Quotient(panels, Math.Min(Quotient(wanted, rowItems), panels));
        work.ColumnItems = Quotient(panels, work.PanelsPerItem);
        work.RowsPerItem = Quotient(rowTiles, rowItems) * tileRows;
        if (work.C.Narrow != null)
        {
            // Results in bf16 are summed in scratch memory, which should stay in the second-level cache: items of some strips.
            int strips = Math.Max(1, (int)(NarrowFloats / ((long)work.RowsPerItem * width * work.StripPanels)));
            work.PanelsPerItem = Math.Min(work.PanelsPerItem, strips * work.StripPanels);
            work.ColumnItems = Quotient(panels, work.PanelsPerItem);
        }

        work.RowItems = Quotient(m, work.RowsPerItem);
        return shares;
    }

    private static int FindFirstCacheWays()
    {
        if (!X86Base.IsSupported)
            return 0;

        // Leaf 4 of Intel and leaf 0x8000001D of AMD describe caches alike: type in EAX 4:0 (1: data), level in EAX 7:5, ways - 1 in EBX 31:22.
        foreach (int leaf in (ReadOnlySpan<int>)[4, unchecked((int)0x8000001D)])
        {
            if (unchecked((uint)X86Base.CpuId(leaf & int.MinValue, 0).Eax < (uint)leaf))
                continue;
            (int type, int sets, _, _) = X86Base.CpuId(leaf, 0);
            if ((type & 0xFF) == 0x21)
                return (sets >>> 22) + 1;
        }

        return 0;
    }

    private static int Quotient(int dividend, int divisor) => (int)(((long)dividend + divisor - 1) / divisor);

    private void RunParts<L, E>(ref GemmBlocks<L, E> work)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        int stride = Quotient(work.N, L.Count) * L.Count;
        bool widens = work.C.Narrow != null && work.Beta != 0;
        var sums = new GemmSums<L, E>
        {
            Epilogue = work.Epilogue,
            Partials = partials.Reserve((work.Parts + (widens ? 1L : 0)) * work.M * stride),
            C = work.C,
            Parts = work.Parts,
            Stride = stride,
            M = work.M,
            N = work.N,
            RowsPerItem = Math.Max(1, 4096 / work.N),
            Alpha = work.Alpha,
            Beta = work.Beta,
        };
        work.C = new GemmResult { Data = sums.Partials, Stride = stride };
        work.Alpha = 1;
        work.Beta = 0;
        Run(ref work, 1);
        pool.Run(Quotient(sums.M, sums.RowsPerItem), ref sums);
    }

    /// <summary>A few products as one loop.</summary>
    public void Run<L>(ref GemmDotsGroup<L> group) where L : struct, IVectorLane<L>
    {
        group.Scratch = scratch.Reserve(group.ScratchFloats * pool.Threads);
        pool.Run(group.Items, ref group);
    }

    private void RunDots<L, E>(in GemmOperand a, in GemmOperand b, bool fewRows, in GemmResult c, int m, int n, int k, float alpha, float beta, in E epilogue)
        where L : struct, IVectorLane<L>
        where E : struct, IGemmEpilogue
    {
        GemmOperand less = fewRows ? a : b;
        var work = new GemmDots<L, E>
        {
            Many = fewRows ? b : a,
            Epilogue = epilogue,
            FewRows = fewRows ? m : n,
            ManyRows = fewRows ? n : m,
            FewAreRows = fewRows,
            K = k,
            C = c.Data,
            StrideC = c.Stride,
            Alpha = alpha,
            Beta = beta,
        };
        if (c.Narrow != null)
        {
            work.C = dense.Reserve((long)m * n);
            work.StrideC = n;
            if (beta != 0)
                c.Widen(0, m, 0, n, work.C, n);
        }

        bool alongK = less.Transposed != fewRows;
        if (alongK && less.Type == DType.F32)
        {
            work.Few = (float*)less.Data;
            work.FewStride = less.Stride;
        }
        else
        {
            work.FewStride = k + 15 & ~15;
            work.Few = few.Reserve(work.FewStride * work.FewRows);
            for (int i = 0; i < work.FewRows; i++)
            {
                if (alongK)
                    less.Row(i, 0, k, work.Few + i * work.FewStride);
                else
                    less.Pack(work.Few + i * work.FewStride, 1, i, 1, 0, k, along: !fewRows);
            }
        }

        work.Divide();
        work.Scratch = scratch.Reserve(work.ScratchFloats * pool.Threads);
        pool.Run(work.Items, ref work);
    }

    public void Dispose()
    {
        packed.Free();
        scratch.Free();
        partials.Free();
        few.Free();
        dense.Free();
        widened.Free();
    }

    /// <summary>Memory that grows to the largest request.</summary>
    private struct Buffer
    {
        private float* memory;
        private long length;

        public float* Reserve(long floats)
        {
            if (floats > length)
            {
                Free();
                memory = (float*)NativeMemory.AlignedAlloc((nuint)floats * sizeof(float), 64);
                length = floats;
            }

            return memory;
        }

        public void Free()
        {
            NativeMemory.AlignedFree(memory);
            memory = null;
            length = 0;
        }
    }
}
