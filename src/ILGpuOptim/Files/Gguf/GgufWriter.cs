using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Files;

/// <summary>A tensor to write.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its type.</param>
/// <param name="Shape">Its sizes, the row length last; the file has them in the opposite order.</param>
internal sealed record GgufTensorInfo(string Name, GgufType Type, IReadOnlyList<int> Shape)
{
    /// <summary>Elements.</summary>
    public long Length => Shape.Aggregate(1L, (product, size) => product * size);
}

/// <summary>Writes a GGUF file of version 3: metadata and the tensors' descriptions first, then each tensor's values, in the order in which they were described.</summary>
internal sealed class GgufWriter : IDisposable
{
    /// <summary>Tensors begin at multiples of this, counted from the first.</summary>
    public const int Alignment = 32;

    private const int Piece = 1 << 16;

    private readonly AtomicFile file;
    private readonly IReadOnlyList<GgufTensorInfo> tensors;
    private int next;

    /// <summary>Begins a file.</summary>
    /// <param name="path">The file; it appears whole or not at all.</param>
    /// <param name="metadata">Keys and values: uint, int, float, bool, string, or an array of one of the last four.</param>
    /// <param name="tensors">The tensors.</param>
    public GgufWriter(string path, IReadOnlyList<(string Key, object Value)> metadata, IReadOnlyList<GgufTensorInfo> tensors)
    {
        this.tensors = tensors;
        file = new AtomicFile(path);
        try
        {
            using var header = new BinaryWriter(file.Stream, Encoding.UTF8, leaveOpen: true);
            header.Write("GGUF"u8);
            header.Write(3);
            header.Write((long)tensors.Count);
            header.Write((long)metadata.Count);
            foreach ((string key, object value) in metadata)
            {
                Text(header, key);
                Value(header, value);
            }

            long offset = 0;
            foreach (GgufTensorInfo tensor in tensors)
            {
                Text(header, tensor.Name);
                header.Write(tensor.Shape.Count);
                foreach (int size in tensor.Shape.Reverse())
                    header.Write((long)size);
                header.Write((int)tensor.Type);
                header.Write(offset);
                offset += Aligned(GgufTypes.BytesOf(tensor.Type, tensor.Length));
            }

            header.Flush();
            Pad();
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The next multiple of <see cref="Alignment"/>.</summary>
    private static long Aligned(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    /// <summary>Writes the values of the next tensor.</summary>
    /// <exception cref="UserException">A value is too large for the type.</exception>
    public void Write(ReadOnlySpan<float> values)
    {
        GgufTensorInfo tensor = tensors[next];
        if (values.Length != tensor.Length)
            throw new ArgumentException($"{values.Length} values for {tensor.Name}, which has {tensor.Length}", nameof(values));
        if (tensor.Type is GgufType.F16 or GgufType.Q8_0 or GgufType.Q4_0)
            CheckRange(tensor, values);
        var bytes = new byte[GgufTypes.BytesOf(tensor.Type, Math.Min(Piece, values.Length))];
        while (!values.IsEmpty)
        {
            ReadOnlySpan<float> piece = values[..Math.Min(Piece, values.Length)];
            Span<byte> target = bytes.AsSpan(0, (int)GgufTypes.BytesOf(tensor.Type, piece.Length));
            GgufBlocks.Encode(tensor.Type, piece, target);
            file.Stream.Write(target);
            values = values[piece.Length..];
        }

        Pad();
        next++;
    }

    /// <summary>Ends the file.</summary>
    public void Finish()
    {
        if (next != tensors.Count)
            throw new InvalidOperationException($"{tensors.Count - next} tensors were described, but not written");
        file.Finish();
    }

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();

    /// <summary>Refuses values whose f16, or whose block's f16 scale, would be infinite or not a number.</summary>
    private static void CheckRange(GgufTensorInfo tensor, ReadOnlySpan<float> values)
    {
        float divisor = tensor.Type switch { GgufType.Q8_0 => 127, GgufType.Q4_0 => 8, _ => 1 };
        foreach (float value in values)
        {
            if (!Half.IsFinite((Half)(value / divisor)))
                throw new UserException($"{tensor.Name} has the value {value}, which {tensor.Type} cannot hold; choose f32 or bf16");
        }
    }

    private void Pad()
    {
        for (long rest = Aligned(file.Stream.Position) - file.Stream.Position; rest > 0; rest--)
            file.Stream.WriteByte(0);
    }

    private static void Text(BinaryWriter header, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        header.Write((long)bytes.Length);
        header.Write(bytes);
    }

    private static void Value(BinaryWriter header, object value)
    {
        switch (value)
        {
            case uint number:
                Kind(header, GgufValueType.UInt32).Write(number);
                break;
            case int number:
                Kind(header, GgufValueType.Int32).Write(number);
                break;
            case float number:
                Kind(header, GgufValueType.Float32).Write(number);
                break;
            case bool flag:
                Kind(header, GgufValueType.Bool).Write(flag);
                break;
            case string text:
                Text(Kind(header, GgufValueType.Text), text);
                break;
            case string[] texts:
                Kind(Kind(header, GgufValueType.Array), GgufValueType.Text).Write((long)texts.Length);
                foreach (string text in texts)
                    Text(header, text);
                break;
            case float[] numbers:
                Kind(Kind(header, GgufValueType.Array), GgufValueType.Float32).Write((long)numbers.Length);
                header.Write(MemoryMarshal.AsBytes(numbers.AsSpan()));
                break;
            case byte[] bytes:
                Kind(Kind(header, GgufValueType.Array), GgufValueType.UInt8).Write((long)bytes.Length);
                header.Write(bytes);
                break;
            case int[] numbers:
                Kind(Kind(header, GgufValueType.Array), GgufValueType.Int32).Write((long)numbers.Length);
                header.Write(MemoryMarshal.AsBytes(numbers.AsSpan()));
                break;
            default:
                throw new ArgumentException($"a value of {value.GetType()} has no type in the file", nameof(value));
        }
    }

    private static BinaryWriter Kind(BinaryWriter header, GgufValueType type)
    {
        header.Write((int)type);
        return header;
    }
}
