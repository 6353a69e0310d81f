using ILGpuOptim.Compute;

namespace ILGpuOptim.Files;

/// <summary>
/// A safetensors file, memory-mapped. The format: an 8-byte little-endian header length, a JSON header, then the
/// tensors' bytes without gaps. All that a file can get wrong is found when it is opened.
/// </summary>
public sealed unsafe class SafetensorsFile : Safetensors
{
    private readonly MappedFile file;
    private readonly SafetensorsHeader header;

    private SafetensorsFile(string path, MappedFile file) : base(path)
    {
        this.file = file;
        header = SafetensorsHeader.Parse(path, new ReadOnlySpan<byte>(file.Start, (int)Math.Min(file.Length, SafetensorsHeader.MostBytes + 8)), file.Length);
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, SafetensorsEntry> Tensors => header.Tensors;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata => header.Metadata;

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="SafetensorsException">It is missing, unreadable or damaged.</exception>
    public static new SafetensorsFile Open(string path)
    {
        try
        {
            long length = new FileInfo(path).Length;
            if (length < 10)
                throw new SafetensorsException($"{path}: {length} bytes are too few for a safetensors file; it was cut short, take another copy");

            var file = new MappedFile(path);
            try
            {
                return new SafetensorsFile(path, file);
            }
            catch
            {
                file.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new SafetensorsException($"{path}: there is no such file; check the path", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new SafetensorsException($"{path}: the file cannot be read: {e.Message}; check the path and the right to read it", e);
        }
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> Bytes(string name)
    {
        SafetensorsEntry entry = this[name];
        if (entry.Bytes > int.MaxValue)
            throw new SafetensorsException($"{Path}: {name} has {entry.Bytes:N0} bytes, more than can be read at once; read it as numbers");
        return new ReadOnlySpan<byte>(Start(entry), (int)entry.Bytes);
    }

    /// <inheritdoc/>
    public override void ReadF32(string name, Span<float> target)
    {
        SafetensorsEntry entry = this[name];
        if (entry.Length != target.Length)
            throw new SafetensorsException($"{Path}: {name} has {entry.Length:N0} elements ({string.Join('×', entry.Shape)}), but {target.Length:N0} are expected; it belongs to another model");
        byte* source = Start(entry);
        switch (entry.Type)
        {
            case "F32":
                new ReadOnlySpan<float>(source, target.Length).CopyTo(target);
                break;
            case "BF16":
                Bf16.Widen(new ReadOnlySpan<ushort>(source, target.Length), target);
                break;
            case "F16":
                var halves = new ReadOnlySpan<Half>(source, target.Length);
                for (int i = 0; i < target.Length; i++)
                    target[i] = (float)halves[i];
                break;
            case "F64":
                var doubles = new ReadOnlySpan<double>(source, target.Length);
                for (int i = 0; i < target.Length; i++)
                    target[i] = (float)doubles[i];
                break;
            default:
                throw new SafetensorsException($"{Path}: {name} holds {entry.Type}, not numbers that convert to f32; convert it to F32, F16, BF16 or F64");
        }
    }

    /// <inheritdoc/>
    public override int[] ReadI32(string name)
    {
        SafetensorsEntry entry = this[name];
        var result = new int[ArrayLength(name)];
        byte* source = Start(entry);
        for (int i = 0; i < result.Length; i++)
        {
            Int128 value = entry.Type switch
            {
                "I32" => ((int*)source)[i],
                "I64" => ((long*)source)[i],
                "U8" or "BOOL" => source[i],
                "I8" => ((sbyte*)source)[i],
                "I16" => ((short*)source)[i],
                "U16" => ((ushort*)source)[i],
                "U32" => ((uint*)source)[i],
                "U64" => ((ulong*)source)[i],
                _ => throw NoIntegers(name, entry.Type),
            };
            if (value < int.MinValue || value > int.MaxValue)
                throw new SafetensorsException($"{Path}: {name} holds {value} at {i}, which is no 32-bit integer; the tensor is not what is expected here");
            result[i] = (int)value;
        }

        return result.Length > 0 || IsInteger(entry.Type) ? result : throw NoIntegers(name, entry.Type);
    }

    private static bool IsInteger(string type) => type == "BOOL" || type[0] is 'I' or 'U';

    private SafetensorsException NoIntegers(string name, string type) =>
        new($"{Path}: {name} holds {type}, not integers; the tensor is not what is expected here");

    private byte* Start(SafetensorsEntry entry) => file.Start + header.DataStart + entry.Offset;

    /// <summary>Unmaps the file.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            file.Dispose();
    }
}
