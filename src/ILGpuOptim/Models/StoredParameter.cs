using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// Parameters in safetensors files, bit for bit as in memory: F32, BF16, I8, or 4-bit integers as U8, rows × bytes of a row (<see cref="Int4"/>). The last two
/// have their scales in a separate tensor, <c>NAME.scales</c>, rows × blocks (of 256) or groups along a row. Other programs cannot read them; <c>merge</c>
/// writes such a model in F32.
/// </summary>
internal static class StoredParameter
{
    private const string Scales = ".scales";

    /// <summary>The tensors of a parameter, in the order in which they are written.</summary>
    public static IEnumerable<(string Name, string Type, IReadOnlyList<int> Shape)> Tensors(Parameter parameter) => parameter.Data.Type switch
    {
        DType.BF16 => [(parameter.Name, "BF16", parameter.Shape)],
        DType.I8 => [(parameter.Name, "I8", parameter.Shape), (parameter.Name + Scales, "F32", [parameter.Rows, BlocksOf(parameter.Columns)])],
        _ when parameter.Data.Type.IsInt4() => [(parameter.Name, "U8", ShapeOf(parameter)), (parameter.Name + Scales, "F32", [parameter.Rows, (int)parameter.Data.Type.GroupsOf(parameter.Columns)])],
        _ => [(parameter.Name, "F32", parameter.Shape)],
    };

    /// <summary>The shape of a parameter's tensor.</summary>
    public static IReadOnlyList<int> ShapeOf(Parameter parameter) =>
        parameter.Data.Type.IsInt4() ? [parameter.Rows, checked((int)Int4.RowBytes(parameter.Data.Type, parameter.Columns))] : parameter.Shape;

    /// <summary>Writes them.</summary>
    public static void Write(SafetensorsWriter writer, Parameter parameter)
    {
        if (!parameter.Data.Type.SharesScales())
        {
            StoredBytes all = StoredBytes.Of(parameter);
            byte[] part = new byte[(int)Math.Min(StoredBytes.Part, all.Count)];
            all.ForEachPart(StoredBytes.Part, (start, count) =>
            {
                all.Download(start, part.AsSpan(0, count));
                writer.Write(parameter.Name, part.AsSpan(0, count));
            });
            return;
        }

        var bytes = new byte[parameter.Bytes];
        parameter.Device.DownloadBytes(parameter.Data, bytes.Length, bytes);
        int scales = ScalesOf(parameter);
        writer.Write(parameter.Name, bytes.AsSpan(0, parameter.Data.Type == DType.I8 ? checked((int)parameter.Length) : scales));
        writer.Write(parameter.Name + Scales, bytes.AsSpan(scales));
    }

    /// <summary>The tensors that a file has for a parameter.</summary>
    public static IEnumerable<string> Names(Safetensors file, string name) => file[name].Type is "I8" or "U8" ? [name, name + Scales] : [name];

    /// <summary>Fills a parameter, whatever the two are stored in; the same storage gives the same bits.</summary>
    /// <exception cref="SafetensorsException">The scales are missing or do not fit, or the type is not known.</exception>
    public static void Load(Safetensors file, string name, Parameter parameter)
    {
        if (parameter.Data.Type.IsInt4() != (file[name].Type == "U8"))
            throw new SafetensorsException($"{file.Path}: {name} is stored as {file[name].Type}, but {ModelFiles.Config} {(parameter.Data.Type.IsInt4() ? "has" : "lacks")} {QuantizationField.Name}; the two files do not belong together");
        if (file[name].Type == Tensors(parameter).First().Type && !parameter.Data.Type.SharesScales())
        {
            StoredBytes all = StoredBytes.Of(parameter);
            byte[] part = new byte[(int)Math.Min(StoredBytes.Part, all.Count)];
            all.ForEachPart(StoredBytes.Part, (start, count) =>
            {
                file.ReadBytes(name, start, part.AsSpan(0, count));
                all.Upload(start, part.AsSpan(0, count));
            });
            return;
        }

        if (file[name].Type is not ("I8" or "U8"))
        {
            parameter.Load(file.ReadF32(name));
            return;
        }

        int rows = parameter.Rows, columns = parameter.Columns, blocks = parameter.Data.Type.IsInt4() ? (int)parameter.Data.Type.GroupsOf(columns) : BlocksOf(columns);
        float[] scales = file.ReadF32(name + Scales);
        if (scales.Length != rows * blocks)
            throw new SafetensorsException($"{file.Path}: {name + Scales} has {scales.Length} values, but {parameter} needs {rows * blocks}; the file was not written by this program");
        byte[] codes = file.ReadBytes(name);
        if (parameter.Data.Type.SharesScales())
        {
            var bytes = new byte[parameter.Bytes];
            codes.CopyTo(bytes);
            MemoryMarshal.AsBytes<float>(scales).CopyTo(bytes.AsSpan(ScalesOf(parameter)));
            parameter.Device.UploadBytes(bytes, parameter.Data);
            return;
        }

        var values = new float[parameter.Length];
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
                values[row * columns + column] = (sbyte)codes[row * columns + column] * scales[row * blocks + column / DTypes.QuantizedBlock];
        }

        parameter.Load(values);
    }

    /// <summary>The offset of the scales among a parameter's bytes.</summary>
    private static int ScalesOf(Parameter parameter) => checked((int)(parameter.Data.Type == DType.I8
        ? DTypes.QuantizedScales(parameter.Rows, parameter.Columns)
        : Int4.Scales(parameter.Data.Type, parameter.Rows, parameter.Columns)));

    private static int BlocksOf(int columns) => (columns + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
}
