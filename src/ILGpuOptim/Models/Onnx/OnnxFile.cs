using System.Globalization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>Writes a graph as an ONNX file. Above a size, constants are in a second file, as a message of protocol buffers has at most 2 GB.</summary>
internal static class OnnxFile
{
    /// <summary>The version of the operators.</summary>
    private const long Operators = 17;

    /// <summary>The version of the format to which these operators belong.</summary>
    private const long Format = 8;

    /// <summary>The ending that the second file's name adds.</summary>
    public const string DataExtension = ".data";

    /// <summary>Constants of more bytes in all are in a second file.</summary>
    public const long MaxInside = 1_900_000_000;

    /// <summary>Constants of fewer bytes are in the first file always.</summary>
    private const long MinOutside = 1024;

    /// <summary>Offsets in the second file are multiples of this, so that it can be mapped.</summary>
    private const long Alignment = 4096;

    /// <summary>Writes a graph.</summary>
    /// <param name="path">The file; it appears whole or not at all.</param>
    /// <param name="graph">The graph.</param>
    /// <param name="maxInside">As <see cref="MaxInside"/>.</param>
    public static void Write(string path, OnnxGraph graph, long maxInside = MaxInside)
    {
        bool isSplit = graph.Constants.Sum(constant => constant.Length) > maxInside;
        OnnxConstant[] outside = [.. graph.Constants.Where(constant => isSplit && constant.Length >= MinOutside)];
        Dictionary<string, long> offsets = isSplit ? WriteData(path + DataExtension, outside) : [];
        (OnnxConstant Constant, ProtobufWriter Header)[] tensors = [.. graph.Constants.Select(constant => (constant, Header(constant, Path.GetFileName(path) + DataExtension, offsets)))];
        graph.Encoded.Text(2, "transformer");
        long length = graph.Encoded.Written.Length + tensors.Sum(tensor => Framed(TensorLength(tensor.Constant, tensor.Header, offsets)));

        var model = new ProtobufWriter();
        model.Varint(1, Format);
        model.Text(2, "ILGpuOptim");
        var operators = new ProtobufWriter();
        operators.Text(1, "");
        operators.Varint(2, Operators);
        model.Message(8, operators);
        model.Begin(7, length);
        using var file = new AtomicFile(path);
        file.Stream.Write(model.Written);
        file.Stream.Write(graph.Encoded.Written);
        foreach ((OnnxConstant constant, ProtobufWriter header) in tensors)
        {
            var frame = new ProtobufWriter();
            frame.Begin(5, TensorLength(constant, header, offsets));
            file.Stream.Write(frame.Written);
            file.Stream.Write(header.Written);
            if (!offsets.ContainsKey(constant.Name))
                file.Stream.Write(constant.Bytes());
        }

        file.Finish();
    }

    private static Dictionary<string, long> WriteData(string path, OnnxConstant[] constants)
    {
        var offsets = new Dictionary<string, long>(StringComparer.Ordinal);
        using var file = new AtomicFile(path);
        foreach (OnnxConstant constant in constants)
        {
            long offset = (file.Stream.Position + Alignment - 1) / Alignment * Alignment;
            file.Stream.Write(new byte[offset - file.Stream.Position]);
            offsets[constant.Name] = offset;
            file.Stream.Write(constant.Bytes());
        }

        file.Finish();
        return offsets;
    }

    /// <summary>A constant's fields; the values inside the file follow them.</summary>
    private static ProtobufWriter Header(OnnxConstant constant, string dataFile, Dictionary<string, long> offsets)
    {
        var result = new ProtobufWriter();
        foreach (int size in constant.Shape)
            result.Varint(1, size);
        result.Varint(2, (long)constant.Type);
        result.Text(8, constant.Name);
        if (!offsets.TryGetValue(constant.Name, out long offset))
        {
            result.Begin(9, constant.Length);
            return result;
        }

        foreach ((string key, string value) in ((string, string)[])[("location", dataFile), ("offset", offset.ToString(CultureInfo.InvariantCulture)), ("length", constant.Length.ToString(CultureInfo.InvariantCulture))])
        {
            var entry = new ProtobufWriter();
            entry.Text(1, key);
            entry.Text(2, value);
            result.Message(13, entry);
        }

        result.Varint(14, 1);
        return result;
    }

    private static long TensorLength(OnnxConstant constant, ProtobufWriter header, Dictionary<string, long> offsets) =>
        header.Written.Length + (offsets.ContainsKey(constant.Name) ? 0 : constant.Length);

    /// <summary>The length of a message with its tag and its length before it.</summary>
    private static long Framed(long length)
    {
        var frame = new ProtobufWriter();
        frame.Begin(5, length);
        return frame.Written.Length + length;
    }
}
