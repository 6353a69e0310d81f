using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ILGpuOptim.Compute.Cpu;

namespace ILGpuOptim.Compute;

/// <summary>
/// The CPU: managed SIMD on a fixed pool of threads, without native libraries. Launches are complete when they
/// return. Results are the same bits for every number of threads.
/// </summary>
public sealed unsafe partial class CpuDevice : Device
{
    /// <summary>Elements from which a map runs in the direction opposite to that of the large map before: it begins with what that one has left in the last-level cache.</summary>
    private const long LargeMap = 1 << 18;

    private readonly WorkerPool workers;
    private readonly CpuScratch scratch = new();
    private readonly int vectorBits;
    private long allocated;
    private bool backwards;
    private CpuSlab? slab;
    private static int saysProblem = 1;

    /// <summary>Opens the processor.</summary>
    /// <param name="threads">The number of threads; 0 means one for each core that this process may use.</param>
    /// <param name="vectorBits">128, 256 or 512 to use narrower vectors than the hardware's; 0 means the widest.</param>
    /// <exception cref="ArgumentOutOfRangeException">A negative number of threads, or a width that no lane has.</exception>
    public CpuDevice(int threads = 0, int vectorBits = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        if (vectorBits is not (0 or 128 or 256 or 512))
            throw new ArgumentOutOfRangeException(nameof(vectorBits), vectorBits, "vectors have 128, 256 or 512 bits");
        int widest = Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;
        this.vectorBits = vectorBits == 0 ? widest : Math.Min(vectorBits, widest);
        if (VectorProblem is { } problem && Interlocked.Exchange(ref saysProblem, 0) == 1)
            Console.Error.WriteLine($"ILGpuOptim: {problem}");
        workers = new WorkerPool(threads == 0 ? Environment.ProcessorCount : threads);
    }

    /// <inheritdoc/>
    public override string Name => "cpu";

    /// <inheritdoc/>
    public override string Description => $"managed SIMD, {vectorBits}-bit vectors, {workers.Threads} thread{(workers.Threads == 1 ? "" : "s")}";

    /// <summary>
    /// One line about vector instructions that the processor has and this program was not compiled for; null if it uses them. The first device prints it to
    /// standard error. Only programs compiled ahead of time (<c>PublishAot</c>) without an instruction set have this problem; see docs/packages.md.
    /// </summary>
    public static string? VectorProblem => CompiledVectors.Problem;

    /// <summary>The vector width in bits: 128, 256 or 512.</summary>
    public int VectorBits => vectorBits;

    /// <summary>The number of threads.</summary>
    public int Threads => workers.Threads;

    /// <inheritdoc/>
    public override long AvailableBytes => HostMemory.AvailableBytes();

    /// <inheritdoc/>
    public override bool UsesHostMemory => true;

    /// <inheritdoc/>
    public override void ForEachOnHost(int count, Action<int> body)
    {
        var work = new HostWork { Body = body };
        workers.Run(count, ref work);
    }

    private struct HostWork : IWork
    {
        public Action<int> Body;

        public readonly void Invoke(int index, int worker) => Body(index);
    }

    /// <inheritdoc/>
    protected internal override DeviceMemory Allocate(long bytes)
    {
        try
        {
            CpuSlab? own = bytes > CpuSlab.Size / 2 ? new CpuSlab(bytes) : null;
            byte* pointer = own is null ? slab is null ? null : slab.TryTake(bytes) : own.TryTake(bytes);
            if (pointer == null)
            {
                slab = new CpuSlab(CpuSlab.Size);
                pointer = slab.TryTake(bytes);
            }

            allocated += bytes;
            return new CpuMemory(this, own ?? slab!, pointer, bytes);
        }
        catch (OutOfMemoryException e)
        {
            throw new DeviceMemoryException($"cpu: out of memory: {bytes:N0} bytes requested, {allocated:N0} in use; use a smaller batch, block or model", e);
        }
    }

    internal void Freed(long bytes) => allocated -= bytes;

    /// <inheritdoc/>
    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        CpuOperand* prepared = stackalloc CpuOperand[Access.MaxOperands];
        if (Prepare(rows, columns, operands, prepared) && rows > 1)
        {
            columns *= rows;
            rows = 1;
            Prepare(rows, columns, operands, prepared);
        }

        if (vectorBits == 512)
            Map<F16, R>(rule, rows, columns, prepared);
        else if (vectorBits == 256)
            Map<F8, R>(rule, rows, columns, prepared);
        else
            Map<F4, R>(rule, rows, columns, prepared);
    }

    /// <inheritdoc/>
    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        CpuOperand* prepared = stackalloc CpuOperand[Access.MaxOperands];
        Prepare(rows, columns, operands, prepared);
        if (vectorBits == 512)
            Rows<F16, R>(rule, rows, columns, prepared);
        else if (vectorBits == 256)
            Rows<F8, R>(rule, rows, columns, prepared);
        else
            Rows<F4, R>(rule, rows, columns, prepared);
    }

    private static bool Prepare(long rows, long columns, ReadOnlySpan<Operand> operands, CpuOperand* prepared)
    {
        bool flattens = true;
        for (int k = 0; k < operands.Length; k++)
        {
            prepared[k] = CpuOperand.From(operands[k], rows, columns);
            flattens &= prepared[k].Flattens(columns);
        }

        return flattens;
    }

    private void Map<L, R>(in R rule, long rows, long columns, CpuOperand* operands)
        where L : struct, IVectorLane<L>
        where R : unmanaged, IMap6
    {
        scratch.Reset();
        bool columnSums = false;
        Access access = AccessOf<R>.Value;
        for (int k = 0; k < Access.MaxOperands; k++)
            columnSums |= access.Reduces(k) && operands[k].Layout is Layout.PerColumn or Layout.RowsAndColumns;
        var grid = new CpuGrid(rows, columns, wholeRows: false, columnSums);
        CpuPartials* partials = stackalloc CpuPartials[Access.MaxOperands];
        CpuReduction.Prepare(access, operands, partials, grid, scratch);
        R copy = rule;
        var work = new CpuMapWork<L>
        {
            Rule = &copy,
            Access = access,
            Loop = &CpuMapLoop<L, R>.Run,
            RestLoop = &CpuMapLoop<F1, R>.Run,
            Grid = grid,
            Operands = operands,
            Partials = partials,
            Scratch = scratch.Take<float>((long)workers.Threads * Access.MaxOperands * CpuMapWork<L>.Tile),
        };
        backwards ^= rows * columns >= LargeMap;
        workers.Run(grid.Pieces, ref work, backwards);
        CpuReduction.Complete(access, operands, partials, grid);
    }

    private void Rows<L, R>(in R rule, long rows, long columns, CpuOperand* operands)
        where L : struct, IVectorLane<L>
        where R : unmanaged, IRowRule
    {
        scratch.Reset();
        bool columnSums = false;
        Access access = AccessOf<R>.Value;
        for (int k = 0; k < Access.MaxOperands; k++)
            columnSums |= access.Reduces(k);
        var grid = new CpuGrid(rows, columns, wholeRows: true, columnSums);
        CpuPartials* partials = stackalloc CpuPartials[Access.MaxOperands];
        CpuReduction.Prepare(access, operands, partials, grid, scratch);
        long perOperand = (Math.Max(columns, 16) + 15) & ~15L;
        var work = new CpuRowWork<L, R>
        {
            Rule = rule,
            Grid = grid,
            Operands = operands,
            Partials = partials,
            Scratch = scratch.Take<float>(workers.Threads * Access.MaxOperands * perOperand),
            ScratchPerOperand = perOperand,
        };
        workers.Run(grid.RowPieces, ref work);
        CpuReduction.Complete(access, operands, partials, grid);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* At(in Block block) => ((CpuMemory)block.Memory).Pointer + block.Offset;

    /// <inheritdoc/>
    protected override void DisposeCore()
    {
        base.DisposeCore();
        gemm?.Dispose();
        workers.Dispose();
        scratch.Dispose();
    }
}
