using System.Runtime.InteropServices;
using ILGpuOptim.Compute.Cpu;

namespace ILGpuOptim.Compute;

// Transfers, conversions, and access by index.
public sealed unsafe partial class CpuDevice
{
    /// <summary>Columns of one work item of a scatter. Items never share an element, so the order of equal indices is that of one thread.</summary>
    private const int ScatterColumns = 64;

    /// <inheritdoc/>
    protected internal override (int Min, int Max)? RangeOfIndices(in Block indices) => IndexRange.Of(new ReadOnlySpan<int>(At(indices), checked((int)indices.Length)));

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target)
    {
        if (target.Type == DType.BF16)
            Bf16.Narrow(source, new Span<ushort>(At(target), source.Length));
        else
            source.CopyTo(new Span<float>(At(target), source.Length));
    }

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target)
    {
        source.CopyTo(new Span<int>(At(target), source.Length));
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<float> target)
    {
        if (source.Type == DType.BF16)
            Bf16.Widen(new ReadOnlySpan<ushort>(At(source), target.Length), target);
        else
            new ReadOnlySpan<float>(At(source), target.Length).CopyTo(target);
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<int> target)
    {
        new ReadOnlySpan<int>(At(source), target.Length).CopyTo(target);
    }

    /// <inheritdoc/>
    protected internal override void DownloadBytesCore(in Block source, long bytes, Span<byte> target) =>
        new ReadOnlySpan<byte>(At(source), checked((int)bytes)).CopyTo(target);

    /// <inheritdoc/>
    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target) =>
        source.CopyTo(new Span<byte>(At(target), source.Length));

    /// <inheritdoc/>
    protected internal override void SynchronizeCore()
    {
    }

    /// <inheritdoc/>
    protected internal override void FillCore(in Block target, float value)
    {
        if (target.Type == DType.F32)
        {
            var work = new FillWork { Target = (float*)At(target), Length = target.Length, Value = value };
            workers.Run(FillWork.Pieces(target.Length), ref work);
        }
        else if (target.Type == DType.BF16)
        {
            new Span<ushort>(At(target), checked((int)target.Length)).Fill(Bf16.Narrow(value));
        }
        else if (target.Type == DType.I32)
        {
            new Span<int>(At(target), checked((int)target.Length)).Fill((int)value);
        }
        else
        {
            MapCore(new Lift1<FillRule>(new FillRule(value)), 1, target.Length, [target]);
        }
    }

    /// <inheritdoc/>
    protected internal override void CopyCore(in Block source, in Block target)
    {
        if (source.Type == target.Type && !source.Type.SharesScales())
            Buffer.MemoryCopy(At(source), At(target), source.Type.Bytes(1, source.Length), source.Type.Bytes(1, source.Length));
        else
            MapCore(new Lift2<CopyRule>(new CopyRule()), 1, source.Length, [source, target]);
    }

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        var work = new GatherWork
        {
            Table = At(table),
            Type = table.Type,
            Indices = (int*)At(indices),
            Target = At(target),
            TargetType = target.Type,
            Count = indices.Length,
            Columns = (int)columns,
            Accumulate = accumulate,
        };
        workers.Run((int)((indices.Length + GatherWork.Rows - 1) / GatherWork.Rows), ref work);
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        var work = new ScatterWork
        {
            Source = At(source),
            Type = source.Type,
            Indices = (int*)At(indices),
            Table = (float*)At(table),
            Count = indices.Length,
            Columns = (int)columns,
        };
        workers.Run((int)((columns + ScatterColumns - 1) / ScatterColumns), ref work);
    }

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        byte* values = At(source);
        var index = (int*)At(indices);
        var result = (float*)At(target);
        for (long row = 0; row < indices.Length; row++)
        {
            long place = row * columns + index[row];
            result[row] = index[row] < 0 ? 0 : source.Type == DType.BF16 ? Bf16.Widen(((ushort*)values)[place]) : ((float*)values)[place];
        }
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow)
    {
        byte* result = At(target);
        var index = (int*)At(indices);
        var values = (float*)At(value);
        for (long i = 0; i < indices.Length; i++)
        {
            if (index[i] < 0)
                continue;
            long place = i / perRow * columns + index[i];
            if (target.Type == DType.BF16)
                ((ushort*)result)[place] = Bf16.Narrow(Bf16.Widen(((ushort*)result)[place]) + values[i]);
            else
                ((float*)result)[place] += values[i];
        }
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        var numbers = new CpuRandom { Target = (float*)At(target), Length = target.Length, Kind = kind, Scale = scale, Seed = seed, Stream = stream };
        if (vectorBits == 512)
            Draw<F16>(numbers);
        else if (vectorBits == 256)
            Draw<F8>(numbers);
        else
            Draw<F4>(numbers);
    }

    private void Draw<L>(CpuRandom numbers) where L : struct, IVectorLane<L>
    {
        var work = new CpuRandomWork<L> { Numbers = numbers };
        workers.Run((int)((numbers.Length + CpuRandomWork<L>.Piece - 1) / CpuRandomWork<L>.Piece), ref work);
    }

    /// <inheritdoc/>
    protected internal override void RotateCore(in RotationArguments arguments)
    {
        RotationArguments a = arguments;
        if (vectorBits == 512)
            Rotate<F16>(a);
        else if (vectorBits == 256)
            Rotate<F8>(a);
        else
            Rotate<F4>(a);
    }

    private void Rotate<L>(in RotationArguments a) where L : struct, IVectorLane<L>
    {
        var work = new CpuRotation<L>
        {
            Target = At(a.Target),
            Angles = (float*)At(a.Angles),
            Rule = new RotateRule(a.Inverse ? -1 : 1),
            Rows = a.Rows,
            Heads = a.Heads,
            HeadStep = a.HeadStride,
            Size = a.RotatedSize,
            Stride = a.Stride,
        };
        scratch.Reset();
        if (a.Target.Type == DType.BF16)
            work.Scratch = scratch.Take<float>((long)workers.Threads * work.Width);
        workers.Run(CpuRotation<L>.Pieces(a.Rows), ref work);
    }

    private struct FillWork : IWork
    {
        private const int Piece = 1 << 18;
        public float* Target;
        public long Length;
        public float Value;

        public static int Pieces(long length) => (int)((length + Piece - 1) / Piece);

        public readonly void Invoke(int index, int worker)
        {
            long start = (long)index * Piece;
            new Span<float>(Target + start, (int)Math.Min(Piece, Length - start)).Fill(Value);
        }
    }

    private struct GatherWork : IWork
    {
        public const int Rows = 64;
        public byte* Table, Target;
        public DType Type, TargetType;
        public int* Indices;
        public long Count;
        public int Columns;
        public bool Accumulate;

        public readonly void Invoke(int index, int worker)
        {
            const int Chunk = 256;
            float* rows = stackalloc float[Chunk], targets = stackalloc float[Chunk];
            long end = Math.Min((index + 1L) * Rows, Count);
            for (long i = (long)index * Rows; i < end; i++)
            {
                long start = (long)Indices[i] * Columns, place = i * Columns;
                for (int j = 0; j < Columns; j += Chunk)
                {
                    int count = Math.Min(Chunk, Columns - j);
                    Span<float> row = Floats(Table, Type, start + j, count, rows, reads: true);
                    Span<float> target = Floats(Target, TargetType, place + j, count, targets, reads: Accumulate);
                    if (Accumulate)
                        Add(row, target);
                    else
                        row.CopyTo(target);
                    if (TargetType == DType.BF16)
                        Bf16.Narrow(target, new Span<ushort>((ushort*)Target + place + j, count));
                }
            }
        }

        /// <summary>Elements where they are, or widened to scratch memory.</summary>
        private static Span<float> Floats(byte* data, DType type, long start, int count, float* scratch, bool reads)
        {
            if (type == DType.F32)
                return new Span<float>((float*)data + start, count);
            var wide = new Span<float>(scratch, count);
            if (reads)
                Bf16.Widen(new ReadOnlySpan<ushort>((ushort*)data + start, count), wide);
            return wide;
        }
    }

    private struct ScatterWork : IWork
    {
        public byte* Source;
        public DType Type;
        public int* Indices;
        public float* Table;
        public long Count;
        public int Columns;

        public readonly void Invoke(int index, int worker)
        {
            int start = index * ScatterColumns, count = Math.Min(ScatterColumns, Columns - start);
            float* wide = stackalloc float[ScatterColumns];
            for (long i = 0; i < Count; i++)
            {
                if (Indices[i] < 0)
                    continue;
                long place = i * Columns + start;
                if (Type != DType.F32)
                    Bf16.Widen(new ReadOnlySpan<ushort>((ushort*)Source + place, count), new Span<float>(wide, count));
                Add(new ReadOnlySpan<float>(Type == DType.F32 ? (float*)Source + place : wide, count), new Span<float>(Table + (long)Indices[i] * Columns + start, count));
            }
        }
    }

    private static void Add(ReadOnlySpan<float> source, Span<float> target)
    {
        int i = 0, width = System.Numerics.Vector<float>.Count;
        for (; i <= source.Length - width; i += width)
            (new System.Numerics.Vector<float>(source[i..]) + new System.Numerics.Vector<float>(target[i..])).CopyTo(target[i..]);
        for (; i < source.Length; i++)
            target[i] += source[i];
    }
}
