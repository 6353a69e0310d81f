using System.IO.Enumeration;

namespace ILGpuOptim.Files;

/// <summary>
/// Named tensors on disk: one safetensors file, or the shards of an index. Opening reads only headers; tensors are read on
/// demand.
/// </summary>
/// <param name="path">The file, or the index of the shards.</param>
public abstract class Safetensors(string path) : IDisposable
{
    /// <summary>The file name of a model's weights in Hugging Face's layout.</summary>
    internal const string FileName = "model.safetensors";

    /// <summary>The file name of the index of a model whose weights are in several files.</summary>
    internal const string IndexName = FileName + ".index.json";

    /// <summary>Patterns of weight files in unsupported formats; data files end in .bin too.</summary>
    private static readonly string[] OtherFormats =
        ["pytorch_model*", "model*.bin", "consolidated*", "ggml*.bin", "*.gguf", "*.pt", "*.pth", "*.ckpt", "*.ckpt.*", "*.h5", "*.msgpack", "*.onnx", "*.npz"];

    /// <summary>The file, or the index of the shards.</summary>
    public string Path { get; } = path;

    /// <summary>The tensors by name.</summary>
    public abstract IReadOnlyDictionary<string, SafetensorsEntry> Tensors { get; }

    /// <summary>The entries of <c>__metadata__</c>; for shards, the first value of each key.</summary>
    public abstract IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file, the shards of an index (<c>….index.json</c>), or whichever of the two is in a model's folder.</summary>
    /// <exception cref="SafetensorsException">It is missing, unreadable or damaged.</exception>
    public static Safetensors Open(string path)
    {
        if (Directory.Exists(path))
        {
            string file = System.IO.Path.Combine(path, FileName), index = System.IO.Path.Combine(path, IndexName);
            if (!File.Exists(file) && !File.Exists(index))
                throw new SafetensorsException($"{path}: {(OtherWeights(path) is { } other ? $"its weights are in {other}, which is not supported; convert them to {FileName} (Hugging Face's save_pretrained writes it)" : $"the folder has neither {FileName} nor {IndexName}; name the folder of a model, or the file itself")}");
            path = File.Exists(file) ? file : index;
        }

        return path.EndsWith(".json", StringComparison.OrdinalIgnoreCase) ? SafetensorsShards.Open(path) : SafetensorsFile.Open(path);
    }

    /// <summary>A weight file in an unsupported format, or null.</summary>
    private static string? OtherWeights(string folder) => Directory.EnumerateFiles(folder)
        .Select(file => System.IO.Path.GetFileName(file))
        .Where(name => OtherFormats.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, name)))
        .Order(StringComparer.Ordinal).FirstOrDefault();

    /// <summary>The type and shape of a tensor.</summary>
    /// <exception cref="SafetensorsException">There is no tensor of this name.</exception>
    public SafetensorsEntry this[string name] =>
        Tensors.TryGetValue(name, out SafetensorsEntry? entry)
            ? entry
            : throw Missing(name);

    /// <summary>The bytes of a tensor as stored, little-endian.</summary>
    /// <exception cref="SafetensorsException">There is no tensor of this name, it has more than 2 GB, or the file cannot be read.</exception>
    public abstract byte[] ReadBytes(string name);

    /// <summary>Reads some of a tensor's bytes as stored, little-endian.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="start">The first byte.</param>
    /// <param name="target">Filled with the bytes from there on.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tensor has fewer bytes.</exception>
    /// <exception cref="SafetensorsException">There is no tensor of this name, or the file cannot be read.</exception>
    public abstract void ReadBytes(string name, long start, Span<byte> target);

    /// <summary>Reads a tensor of type F32, F16, BF16 or F64 as f32 into <paramref name="target"/>, which must have the same length.</summary>
    /// <exception cref="SafetensorsException">There is no tensor of this name, or it has another length or type.</exception>
    public abstract void ReadF32(string name, Span<float> target);

    /// <summary>As <see cref="ReadF32(string, Span{float})"/>, into a new array.</summary>
    public float[] ReadF32(string name)
    {
        var result = new float[ArrayLength(name)];
        ReadF32(name, result);
        return result;
    }

    /// <summary>Reads a tensor of type BOOL or an integer type; values outside 32 bits are errors.</summary>
    /// <exception cref="SafetensorsException">There is no tensor of this name, it has another type, or a value does not fit.</exception>
    public abstract int[] ReadI32(string name);

    private protected SafetensorsException Missing(string name) =>
        new($"{Path}: there is no tensor {name} among its {Tensors.Count}; it belongs to another model, or the name is mistyped");

    /// <summary>The number of elements of a tensor, which must fit into an array.</summary>
    private protected int ArrayLength(string name)
    {
        long length = this[name].Length;
        if (length > Array.MaxLength)
            throw new SafetensorsException($"{Path}: {name} has {length:N0} elements, more than fit into an array; split the tensor");
        return (int)length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the files.</summary>
    protected abstract void Dispose(bool disposing);
}
