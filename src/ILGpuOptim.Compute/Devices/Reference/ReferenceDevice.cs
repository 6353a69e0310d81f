using System.Runtime.InteropServices;
using ILGpuOptim.Compute.Reference;

namespace ILGpuOptim.Compute;

/// <summary>
/// The scalar oracle: every kernel shape as a plain loop in double precision. It defines what the shapes mean; tests
/// hold the other devices against it and take finite differences with it. Slow on purpose.
/// </summary>
public sealed partial class ReferenceDevice : Device
{
    /// <inheritdoc/>
    public override string Name => "reference";

    /// <inheritdoc/>
    public override string Description => "scalar loops in double precision, one thread, for checking other devices";

    /// <inheritdoc/>
    public override long AvailableBytes => HostMemory.AvailableBytes() / 8;

    /// <inheritdoc/>
    public override bool UsesHostMemory => true;

    /// <inheritdoc/>
    protected internal override DeviceMemory Allocate(long bytes) => new ReferenceMemory(bytes);

    /// <summary>The exact element of a block.</summary>
    public double this[in Block block, long index]
    {
        get => Element(block, index).Read(0, index);
        set => Element(block, index).Write(0, index, value);
    }

    private ReferenceOperand Element(in Block block, long index)
    {
        Check(block);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((ulong)index, (ulong)block.Length, nameof(index));
        return At(block);
    }

    private static ReferenceOperand At(in Block block) => new(block, 1, block.Length);

    private static Span<int> Integers(in Block block) => ((ReferenceMemory)block.Memory).Integers.AsSpan((int)(block.Offset / 4), (int)block.Length);

    /// <inheritdoc/>
    protected internal override (int Min, int Max)? RangeOfIndices(in Block indices) => IndexRange.Of(Integers(indices));

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target)
    {
        ReferenceOperand operand = At(target);
        for (int i = 0; i < source.Length; i++)
            operand.Write(0, i, source[i]);
    }

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target)
    {
        source.CopyTo(Integers(target));
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<float> target)
    {
        ReferenceOperand operand = At(source);
        for (int i = 0; i < target.Length; i++)
            target[i] = (float)operand.Read(0, i);
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<int> target)
    {
        Integers(source).CopyTo(target);
    }

    /// <inheritdoc/>
    protected internal override void DownloadBytesCore(in Block source, long bytes, Span<byte> target)
    {
        if (source.Type.IsInt4())
        {
            ((ReferenceMemory)source.Memory).Int4[..checked((int)bytes)].CopyTo(target);
            return;
        }

        if (source.Type.SharesScales())
        {
            ((ReferenceMemory)source.Memory).CopyQuantized(source.Length, target[..checked((int)bytes)]);
            return;
        }

        if (source.Type == DType.I32)
        {
            MemoryMarshal.AsBytes(Integers(source))[..(int)bytes].CopyTo(target);
            return;
        }

        ReferenceOperand operand = At(source);
        for (int i = 0; i < bytes / source.Type.Bytes(1, 1); i++)
        {
            if (source.Type == DType.F32)
                BitConverter.TryWriteBytes(target[(i * 4)..], (float)operand.Read(0, i));
            else
                BitConverter.TryWriteBytes(target[(i * 2)..], Bf16.Narrow((float)operand.Read(0, i)));
        }
    }

    /// <inheritdoc/>
    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target)
    {
        if (target.Type.IsInt4())
        {
            source.CopyTo(((ReferenceMemory)target.Memory).Int4);
            return;
        }

        if (target.Type.SharesScales())
        {
            ((ReferenceMemory)target.Memory).SetQuantized(target.Length, source);
            return;
        }

        if (target.Type == DType.I32)
        {
            source.CopyTo(MemoryMarshal.AsBytes(Integers(target)));
            return;
        }

        ReferenceOperand operand = At(target);
        for (int i = 0; i < source.Length / target.Type.Bytes(1, 1); i++)
            operand.Write(0, i, target.Type == DType.BF16 ? Bf16.Widen(BitConverter.ToUInt16(source[(i * 2)..])) : BitConverter.ToSingle(source[(i * 4)..]));
    }

    /// <inheritdoc/>
    protected internal override void SynchronizeCore()
    {
    }

    /// <inheritdoc/>
    protected internal override void FillCore(in Block target, float value)
    {
        if (target.Type.SharesScales())
        {
            MapCore(new Lift1<FillRule>(new FillRule(value)), 1, target.Length, [target]);
            return;
        }

        ReferenceOperand operand = At(target);
        for (long i = 0; i < target.Length; i++)
            operand.Write(0, i, value);
    }

    /// <inheritdoc/>
    protected internal override void CopyCore(in Block source, in Block target)
    {
        MapCore(new Lift2<CopyRule>(new CopyRule()), 1, source.Length, [source, target]);
    }

    /// <inheritdoc/>
    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        ReferenceOperand[] x = Open(operands, rows, columns);
        var rowSums = new double[x.Length, rows];
        var columnSums = new double[x.Length, columns];
        var written = new double[x.Length][];
        for (int k = 0; k < x.Length; k++)
        {
            written[k] = new double[columns];
            for (long i = 0; i < rows; i++)
                rowSums[k, i] = Start<R>(k);
            for (long j = 0; j < columns; j++)
                columnSums[k, j] = Start<R>(k);
        }

        for (long i = 0; i < rows; i++)
        {
            for (long j = 0; j < columns; j++)
            {
                D1 a = Read<R>(x, 0, i, j), b = Read<R>(x, 1, i, j), c = Read<R>(x, 2, i, j), d = Read<R>(x, 3, i, j), e = Read<R>(x, 4, i, j), f = Read<R>(x, 5, i, j);
                rule.Apply(ref a, ref b, ref c, ref d, ref e, ref f);
                ReadOnlySpan<D1> results = [a, b, c, d, e, f];
                for (int k = 0; k < x.Length; k++)
                {
                    written[k][j] = results[k].Value;
                    if (!R.Access.Reduces(k))
                        continue;
                    rowSums[k, i] = Join<R>(k, rowSums[k, i], results[k].Value);
                    columnSums[k, j] = Join<R>(k, columnSums[k, j], results[k].Value);
                }
            }

            for (int k = 0; k < x.Length; k++)
            {
                if (R.Access.Writes(k))
                    x[k].WriteRow(i, written[k]);
            }
        }

        for (int k = 0; k < x.Length; k++)
        {
            if (!R.Access.Reduces(k))
                continue;
            Layout layout = x[k].Layout;
            double total = Start<R>(k);
            for (long i = 0; i < rows; i++)
            {
                total = Join<R>(k, total, rowSums[k, i]);
                if (layout is Layout.PerRow or Layout.RowsAndColumns)
                    x[k].WriteSum(i, rowSums[k, i]);
            }

            if (layout is Layout.PerColumn or Layout.RowsAndColumns)
            {
                for (long j = 0; j < columns; j++)
                    x[k].WriteSum(layout == Layout.PerColumn ? j : rows + j, columnSums[k, j]);
            }

            if (layout == Layout.Scalar)
                x[k].WriteSum(0, total);
        }
    }

    /// <inheritdoc/>
    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        ReferenceOperand[] x = Open(operands, rows, columns);
        var sums = new double[x.Length, columns];
        for (long i = 0; i < rows; i++)
        {
            D1 total = new(R.FirstIsMax ? double.NegativeInfinity : 0);
            for (long j = 0; j < columns; j++)
            {
                D1 term = rule.FirstTerm(Read<R>(x, 0, i, j), Read<R>(x, 1, i, j), Read<R>(x, 2, i, j), Read<R>(x, 3, i, j), Read<R>(x, 4, i, j), Read<R>(x, 5, i, j));
                total = R.FirstIsMax ? D1.Max(term, total) : total + term;
            }

            D1 first = rule.First(total), second = default;
            if (R.HasSecond)
            {
                total = default;
                for (long j = 0; j < columns; j++)
                    total += rule.SecondTerm(first, Read<R>(x, 0, i, j), Read<R>(x, 1, i, j), Read<R>(x, 2, i, j), Read<R>(x, 3, i, j), Read<R>(x, 4, i, j), Read<R>(x, 5, i, j));
                second = rule.Second(first, total);
            }

            for (long j = 0; j < columns; j++)
            {
                D1 a = Read<R>(x, 0, i, j), b = Read<R>(x, 1, i, j), c = Read<R>(x, 2, i, j), d = Read<R>(x, 3, i, j), e = Read<R>(x, 4, i, j), f = Read<R>(x, 5, i, j);
                rule.Map(first, second, ref a, ref b, ref c, ref d, ref e, ref f);
                ReadOnlySpan<D1> results = [a, b, c, d, e, f];
                for (int k = 0; k < x.Length; k++)
                {
                    if (R.Access.Writes(k))
                        x[k].Write(i, j, results[k].Value);
                    if (R.Access.Reduces(k))
                        sums[k, j] += results[k].Value;
                }
            }
        }

        for (int k = 0; k < x.Length; k++)
        {
            for (long j = 0; R.Access.Reduces(k) && j < columns; j++)
                x[k].WriteSum(j, sums[k, j]);
        }
    }

    private static ReferenceOperand[] Open(ReadOnlySpan<Operand> operands, long rows, long columns)
    {
        var result = new ReferenceOperand[operands.Length];
        for (int k = 0; k < operands.Length; k++)
            result[k] = new ReferenceOperand(operands[k], rows, columns);
        return result;
    }

    private static D1 Read<R>(ReferenceOperand[] x, int k, long row, long column) where R : unmanaged, IRule =>
        R.Access.Reads(k) ? new D1(x[k].Read(row, column)) : default;

    private static double Start<R>(int k) where R : unmanaged, IRule => R.Access.At(k) == Slot.Max ? double.NegativeInfinity : 0;

    private static double Join<R>(int k, double total, double value) where R : unmanaged, IRule =>
        R.Access.At(k) == Slot.Max ? (value > total ? value : total) : total + value;
}
