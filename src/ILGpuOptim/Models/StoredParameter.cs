using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// Parameters in safetensors files, bit for bit as in memory: F32, BF16, or I8 with the scales of its blocks in a
/// separate tensor, <c>NAME.scales</c>, rows × blocks of 256 along a row. Other programs cannot read the last; <c>merge</c> writes such a model
/// in F32.
/// </summary>
internal static class StoredParameter
{
    private const string Scales = ".scales";

    /// <summary>The tensors of a parameter, in the order in which they are written.</summary>
    public static IEnumerable<(string Name, string Type, IReadOnlyList<int> Shape)> Tensors(Parameter parameter) => parameter.Data.Type switch
    {
        DType.BF16 => [(parameter.Name, "BF16", parameter.Shape)],
        DType.I8 => [(parameter.Name, "I8", parameter.Shape), (parameter.Name + Scales, "F32", [parameter.Rows, BlocksOf(parameter.Columns)])],
        _ => [(parameter.Name, "F32", parameter.Shape)],
    };

    /// <summary>Writes them.</summary>
    public static void Write(SafetensorsWriter writer, Parameter parameter)
    {
        if (!parameter.IsNarrow)
        {
            writer.Write(parameter.Name, MemoryMarshal.AsBytes<float>(parameter.ToArray()));
            return;
        }

        var bytes = new byte[parameter.Bytes];
        parameter.Device.DownloadBytes(parameter.Data, bytes.Length, bytes);
        writer.Write(parameter.Name, parameter.Data.Type == DType.I8 ? bytes.AsSpan(0, checked((int)parameter.Length)) : bytes);
        if (parameter.Data.Type == DType.I8)
            writer.Write(parameter.Name + Scales, bytes.AsSpan(checked((int)DTypes.QuantizedScales(parameter.Rows, parameter.Columns))));
    }

    /// <summary>The tensors that a file has for a parameter.</summary>
    public static IEnumerable<string> Names(Safetensors file, string name) => file[name].Type == "I8" ? [name, name + Scales] : [name];

    /// <summary>Fills a parameter, whatever the two are stored in; the same storage gives the same bits.</summary>
    /// <exception cref="SafetensorsException">The scales are missing or do not fit, or the type is not known.</exception>
    public static void Load(Safetensors file, string name, Parameter parameter)
    {
        if (file[name].Type != "I8")
        {
            parameter.Load(file.ReadF32(name));
            return;
        }

        int rows = parameter.Rows, columns = parameter.Columns, blocks = BlocksOf(columns);
        float[] scales = file.ReadF32(name + Scales);
        if (scales.Length != rows * blocks)
            throw new SafetensorsException($"{file.Path}: {name + Scales} has {scales.Length} values, but {parameter} needs {rows * blocks}; the file was not written by this program");
        byte[] codes = file.ReadBytes(name);
        if (parameter.Data.Type == DType.I8)
        {
            var bytes = new byte[parameter.Bytes];
            codes.CopyTo(bytes);
            MemoryMarshal.AsBytes<float>(scales).CopyTo(bytes.AsSpan(checked((int)DTypes.QuantizedScales(rows, columns))));
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

    private static int BlocksOf(int columns) => (columns + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
}
