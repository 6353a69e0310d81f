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
    /// <param name="writer">The file.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="part">The most bytes that are copied at once; even.</param>
    public static void Write(SafetensorsWriter writer, Parameter parameter, int part = StoredBytes.Part) => ForEachRange(parameter, part, (bytes, tensor, _) => writer.Write(tensor, bytes), upload: false);

    /// <summary>
    /// Copies a parameter in parts: downloads each and passes its ranges of tensors to an action, with the range's start within the tensor; or has the action fill
    /// them, and uploads. Bytes between codes and scales are zero.
    /// </summary>
    private static void ForEachRange(Parameter parameter, int part, RangeAction action, bool upload)
    {
        StoredBytes all = StoredBytes.Of(parameter);
        (long codes, long scales) = parameter.Data.Type.SharesScales() ? (CodesOf(parameter), ScalesOf(parameter)) : (all.Count, all.Count);
        byte[] buffer = new byte[(int)Math.Min(part, all.Count)];
        all.ForEachPart(part, (start, count) =>
        {
            Span<byte> bytes = buffer.AsSpan(0, count);
            if (upload)
                bytes.Clear();
            else
                all.Download(start, bytes);
            if (start < codes)
                action(bytes[..(int)Math.Min(count, codes - start)], parameter.Name, start);
            if (start + count > scales)
                action(bytes[(int)Math.Max(0, scales - start)..], parameter.Name + Scales, Math.Max(0, start - scales));
            if (upload)
                all.Upload(start, bytes);
        });
    }

    private delegate void RangeAction(Span<byte> bytes, string tensor, long start);

    /// <summary>The tensors that a file has for a parameter.</summary>
    public static IEnumerable<string> Names(Safetensors file, string name) => file[name].Type is "I8" or "U8" ? [name, name + Scales] : [name];

    /// <summary>Fills a parameter, whatever the two are stored in; the same storage gives the same bits.</summary>
    /// <param name="file">The file.</param>
    /// <param name="name">The tensor.</param>
    /// <param name="parameter">The parameter.</param>
    /// <param name="part">The most bytes that are copied at once; even.</param>
    /// <exception cref="SafetensorsException">The scales are missing or do not fit, or the type is not known.</exception>
    public static void Load(Safetensors file, string name, Parameter parameter, int part = StoredBytes.Part)
    {
        if (parameter.Data.Type.IsInt4() != (file[name].Type == "U8"))
            throw new SafetensorsException($"{file.Path}: {name} is stored as {file[name].Type}, but {ModelFiles.Config} {(parameter.Data.Type.IsInt4() ? "has" : "lacks")} {QuantizationField.Name}; the two files do not belong together");
        bool isSame = file[name].Type == Tensors(parameter).First().Type;
        if (file[name].Type is not ("I8" or "U8"))
        {
            if (isSame)
                Read();
            else
                parameter.Load(file.ReadF32(name));
            return;
        }

        int rows = parameter.Rows, columns = parameter.Columns, blocks = parameter.Data.Type.IsInt4() ? (int)parameter.Data.Type.GroupsOf(columns) : BlocksOf(columns);
        SafetensorsEntry scaling = file[name + Scales];
        if (scaling.Length != (long)rows * blocks || scaling.Type != "F32")
            throw new SafetensorsException($"{file.Path}: {name + Scales} has {scaling.Length} values of type {scaling.Type}, but {parameter} needs {(long)rows * blocks} of type F32; the file was not written by this program");
        if (isSame)
        {
            Read();
            return;
        }

        float[] scales = file.ReadF32(name + Scales);
        byte[] codes = file.ReadBytes(name);
        var values = new float[parameter.Length];
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
                values[row * columns + column] = (sbyte)codes[row * columns + column] * scales[row * blocks + column / DTypes.QuantizedBlock];
        }

        parameter.Load(values);

        void Read() => ForEachRange(parameter, part, (bytes, tensor, start) => file.ReadBytes(name + tensor[parameter.Name.Length..], start, bytes), upload: true);
    }

    /// <summary>The number of bytes of the codes.</summary>
    private static long CodesOf(Parameter parameter) => parameter.Data.Type == DType.I8 ? parameter.Length : ScalesOf(parameter);

    /// <summary>The offset of the scales among a parameter's bytes.</summary>
    private static long ScalesOf(Parameter parameter) => parameter.Data.Type == DType.I8
        ? DTypes.QuantizedScales(parameter.Rows, parameter.Columns)
        : Int4.Scales(parameter.Data.Type, parameter.Rows, parameter.Columns);

    private static int BlocksOf(int columns) => (columns + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
}
