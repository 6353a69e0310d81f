using ILGpuOptim.Compute;

namespace ThirdParty;

/// <summary>A device from scratch, with memory of its own: f32 arrays, and maps without sums. It refuses everything else.</summary>
public sealed class ArrayDevice : Device
{
    /// <inheritdoc/>
    public override string Name => "array";

    /// <inheritdoc/>
    public override string Description => "f32 arrays, one thread";

    /// <inheritdoc/>
    public override long AvailableBytes => int.MaxValue;

    /// <inheritdoc/>
    public override bool UsesHostMemory => true;

    /// <inheritdoc/>
    protected override DeviceMemory Allocate(long bytes) => new Memory(bytes);

    /// <inheritdoc/>
    protected override (int Min, int Max)? RangeOfIndices(in Block indices) => null;

    /// <inheritdoc/>
    protected override void UploadCore(ReadOnlySpan<float> source, in Block target) => source.CopyTo(Elements(target));

    /// <inheritdoc/>
    protected override void DownloadCore(in Block source, Span<float> target) => Elements(source).CopyTo(target);

    /// <inheritdoc/>
    protected override void SynchronizeCore()
    {
    }

    /// <inheritdoc/>
    protected override void FillCore(in Block target, float value) => Elements(target).Fill(value);

    /// <inheritdoc/>
    protected override void CopyCore(in Block source, in Block target) => Elements(source).CopyTo(Elements(target));

    /// <inheritdoc/>
    protected override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        var lanes = new F1[Access.MaxOperands];
        for (long row = 0; row < rows; row++)
        {
            for (long column = 0; column < columns; column++)
            {
                for (int k = 0; k < operands.Length; k++)
                    lanes[k] = R.Access.Reads(k) ? new F1(Element(operands[k], row, column, columns)) : default;
                rule.Apply(ref lanes[0], ref lanes[1], ref lanes[2], ref lanes[3], ref lanes[4], ref lanes[5]);
                for (int k = 0; k < operands.Length; k++)
                {
                    if (R.Access.Reduces(k))
                        throw Unsupported();
                    if (R.Access.Writes(k))
                        Element(operands[k], row, column, columns) = lanes[k].Value;
                }
            }
        }
    }

    /// <inheritdoc/>
    protected override void UploadCore(ReadOnlySpan<int> source, in Block target) => throw Unsupported();

    /// <inheritdoc/>
    protected override void DownloadCore(in Block source, Span<int> target) => throw Unsupported();

    /// <inheritdoc/>
    protected override void DownloadBytesCore(in Block source, long bytes, Span<byte> target) => throw Unsupported();

    /// <inheritdoc/>
    protected override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target) => throw Unsupported();

    /// <inheritdoc/>
    protected override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => throw Unsupported();

    /// <inheritdoc/>
    protected override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) => throw Unsupported();

    /// <inheritdoc/>
    protected override void AttentionForwardCore(in AttentionArguments arguments) => throw Unsupported();

    /// <inheritdoc/>
    protected override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients) => throw Unsupported();

    /// <inheritdoc/>
    protected override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate) => throw Unsupported();

    /// <inheritdoc/>
    protected override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns) => throw Unsupported();

    /// <inheritdoc/>
    protected override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream) => throw Unsupported();

    /// <inheritdoc/>
    protected override void PickCore(in Block source, in Block indices, in Block target, long columns) => throw Unsupported();

    /// <inheritdoc/>
    protected override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow) => throw Unsupported();

    /// <inheritdoc/>
    protected override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        Span<float> from = Elements(source), to = Elements(target);
        for (long i = 0; i < copy.Length; i++)
        {
            long read = copy.SourceStart, write = copy.TargetStart, rest = i;
            for (int k = copy.Count - 1; k >= 0; k--)
            {
                read += rest % copy[k].Size * copy[k].SourceStride;
                write += rest % copy[k].Size * copy[k].TargetStride;
                rest /= copy[k].Size;
            }

            to[(int)write] = from[(int)read] + (copy.Accumulate ? to[(int)write] : 0);
        }
    }

    private static Span<float> Elements(Block block) => block.Type == DType.F32
        ? ((Memory)block.Memory).Values.AsSpan((int)(block.Offset / sizeof(float)), (int)block.Length)
        : throw Unsupported();

    private static ref float Element(in Operand operand, long row, long column, long columns) => ref Elements(operand.Block)[(int)(operand.Layout switch
    {
        Layout.Full => row * (operand.Stride == 0 ? columns : operand.Stride) + column,
        Layout.PerRow => row,
        Layout.PerColumn => column,
        Layout.Scalar => 0,
        _ => throw Unsupported(),
    })];

    private static NotSupportedException Unsupported() => new("the array device computes maps of f32 without sums");

    private sealed class Memory(long bytes) : DeviceMemory
    {
        public float[] Values { get; private set; } = new float[bytes / sizeof(float)];

        public override long Bytes => bytes;

        protected override void Free() => Values = [];
    }
}
