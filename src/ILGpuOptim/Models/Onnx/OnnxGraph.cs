using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The element types of ONNX tensors that are used; the numbers are those of the format.</summary>
internal enum OnnxType
{
    /// <summary>32-bit floats.</summary>
    Float = 1,

    /// <summary>64-bit integers.</summary>
    Int64 = 7,

    /// <summary>64-bit floats.</summary>
    Double = 11,
}

/// <summary>A constant of a graph.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its type.</param>
/// <param name="Shape">Its sizes.</param>
/// <param name="Bytes">Its values, computed when they are written.</param>
internal sealed record OnnxConstant(string Name, OnnxType Type, IReadOnlyList<int> Shape, Func<byte[]> Bytes)
{
    /// <summary>Bytes of its values.</summary>
    public long Length => Shape.Aggregate(Type == OnnxType.Float ? 4L : 8L, (product, size) => product * size);
}

/// <summary>
/// A graph of ONNX operators. Methods append an operator and return the name of its result; names of values are strings. Fields have the numbers of
/// <c>onnx.proto</c>.
/// </summary>
internal sealed class OnnxGraph
{
    private const int AttributeFloat = 1, AttributeInteger = 2, AttributeIntegers = 7;

    private readonly Dictionary<string, string> known = [];
    private readonly Dictionary<string, OnnxConstant> constants = [];
    private int count;

    /// <summary>The nodes and the graph's inputs and outputs, encoded.</summary>
    public ProtobufWriter Encoded { get; } = new();

    /// <summary>The constants.</summary>
    public IReadOnlyCollection<OnnxConstant> Constants => constants.Values;

    /// <summary>Declares an input; sizes are numbers or names.</summary>
    public string Input(string name, OnnxType type, params ReadOnlySpan<string> shape)
    {
        Encoded.Message(11, Value(name, type, shape));
        return name;
    }

    /// <summary>Declares an input of batch × sequence integers that may be left out; every element is then the value.</summary>
    public string OptionalInput(string name, long value)
    {
        Constant(name, OnnxType.Int64, [1, 1], () => BitConverter.GetBytes(value));
        return Input(name, OnnxType.Int64, name + "_batch", name + "_sequence");
    }

    /// <summary>Declares a value as an output.</summary>
    public void Output(string name, string value, OnnxType type, params ReadOnlySpan<string> shape)
    {
        Append("Identity", [value], name, []);
        Encoded.Message(12, Value(name, type, shape));
    }

    /// <summary>Appends an operator. Equal operators of equal inputs are appended once.</summary>
    /// <param name="op">Its name.</param>
    /// <param name="inputs">Its inputs; an empty name leaves one out.</param>
    /// <param name="attributes">Its attributes: long, long[] or float.</param>
    public string Node(string op, IReadOnlyList<string> inputs, params (string Name, object Value)[] attributes)
    {
        string key = $"{op}({string.Join(',', inputs)}){string.Join(';', attributes.Select(item => $"{item.Name}={(item.Value is long[] list ? string.Join(' ', list) : Convert.ToString(item.Value, CultureInfo.InvariantCulture))}"))}";
        if (known.TryGetValue(key, out string? same))
            return same;
        string result = $"{op}_{count++}";
        Append(op, inputs, result, attributes);
        return known[key] = result;
    }

    /// <summary>Appends an operator with several results.</summary>
    public string[] Nodes(string op, IReadOnlyList<string> inputs, int results, params (string Name, object Value)[] attributes)
    {
        string[] names = [.. Enumerable.Range(0, results).Select(i => $"{op}_{count}_{i}")];
        count++;
        Append(op, inputs, names, attributes);
        return names;
    }

    /// <summary>A constant of 64-bit integers.</summary>
    public string Integers(params long[] values) => Constant($"i_{string.Join('_', values)}", OnnxType.Int64, [values.Length], () => [.. values.SelectMany(BitConverter.GetBytes)]);

    /// <summary>A 64-bit integer without axes.</summary>
    public string Integer(long value) => Constant($"n_{value}", OnnxType.Int64, [], () => BitConverter.GetBytes(value));

    /// <summary>A float without axes.</summary>
    public string Float(float value) => Constant($"f_{BitConverter.SingleToUInt32Bits(value):x8}", OnnxType.Float, [], () => BitConverter.GetBytes(value));

    /// <summary>A double without axes.</summary>
    public string Double(double value) => Constant($"d_{BitConverter.DoubleToUInt64Bits(value):x16}", OnnxType.Double, [], () => BitConverter.GetBytes(value));

    /// <summary>A vector of doubles.</summary>
    public string Doubles(string name, double[] values) => Constant(name, OnnxType.Double, [values.Length], () => [.. values.SelectMany(BitConverter.GetBytes)]);

    /// <summary>A constant of any type; one of the same name is the same.</summary>
    public string Constant(string name, OnnxType type, IReadOnlyList<int> shape, Func<byte[]> bytes)
    {
        constants.TryAdd(name, new OnnxConstant(name, type, shape, bytes));
        return name;
    }

    /// <summary>The values of a parameter.</summary>
    /// <param name="parameter">The parameter.</param>
    /// <param name="transposes">Exchanges the two axes.</param>
    /// <param name="offset">Added to each value.</param>
    public string Parameter(Parameter parameter, bool transposes = false, float offset = 0) =>
        Constant(transposes ? parameter.Name + ".transposed" : parameter.Name, OnnxType.Float, transposes ? [parameter.Shape[1], parameter.Shape[0]] : parameter.Shape, () =>
        {
            float[] values = parameter.ToArray();
            if (transposes)
                values = new GgufTensor("", [parameter.Shape[1], parameter.Shape[0]]) { Order = GgufOrder.Transposed }.ToFile(values);
            if (offset != 0)
                values = Array.ConvertAll(values, value => value + offset);
            var bytes = new byte[4L * values.Length];
            GgufBlocks.Encode(GgufType.F32, values, bytes);
            return bytes;
        });

    /// <summary>x + y.</summary>
    public string Add(string x, string y) => Node("Add", [x, y]);

    /// <summary>x · y, element by element.</summary>
    public string Multiply(string x, string y) => Node("Mul", [x, y]);

    /// <summary>factor · x.</summary>
    public string Scale(string x, float factor) => factor == 1 ? x : Multiply(x, Float(factor));

    /// <summary>x with other sizes: 0 keeps a size, -1 follows from the others.</summary>
    public string Reshape(string x, params long[] sizes) => Node("Reshape", [x, Integers(sizes)]);

    /// <summary>x with its axes in another order.</summary>
    public string Transpose(string x, params long[] axes) => Node("Transpose", [x], ("perm", axes));

    /// <summary>x with one more axis.</summary>
    public string Unsqueeze(string x, long axis) => Node("Unsqueeze", [x, Integers(axis)]);

    /// <summary>Parts of x along its last axis.</summary>
    public string[] Split(string x, params long[] sizes) => sizes.Length == 1 ? [x] : Nodes("Split", [x, Integers(sizes)], sizes.Length, ("axis", -1L));

    /// <summary>x as another type.</summary>
    public string Cast(string x, OnnxType type) => Node("Cast", [x], ("to", (long)type));

    /// <summary>cap · tanh(x / cap).</summary>
    public string Cap(string x, float? cap) => cap is { } limit ? Scale(Node("Tanh", [Node("Div", [x, Float(limit)])]), limit) : x;

    private static ProtobufWriter Value(string name, OnnxType type, ReadOnlySpan<string> sizes)
    {
        ProtobufWriter shape = new(), tensor = new(), kind = new(), result = new();
        foreach (string size in sizes)
        {
            var dimension = new ProtobufWriter();
            if (long.TryParse(size, CultureInfo.InvariantCulture, out long number))
                dimension.Varint(1, number);
            else
                dimension.Text(2, size);
            shape.Message(1, dimension);
        }

        tensor.Varint(1, (long)type);
        tensor.Message(2, shape);
        kind.Message(1, tensor);
        result.Text(1, name);
        result.Message(2, kind);
        return result;
    }

    private void Append(string op, IReadOnlyList<string> inputs, string result, (string, object)[] attributes) => Append(op, inputs, [result], attributes);

    private void Append(string op, IReadOnlyList<string> inputs, string[] results, (string Name, object Value)[] attributes)
    {
        var node = new ProtobufWriter();
        foreach (string input in inputs)
            node.Text(1, input);
        foreach (string result in results)
            node.Text(2, result);
        node.Text(3, $"{op}_{results[0]}");
        node.Text(4, op);
        foreach ((string name, object value) in attributes)
        {
            var attribute = new ProtobufWriter();
            attribute.Text(1, name);
            switch (value)
            {
                case float number:
                    attribute.Single(2, number);
                    attribute.Varint(20, AttributeFloat);
                    break;
                case long number:
                    attribute.Varint(3, number);
                    attribute.Varint(20, AttributeInteger);
                    break;
                case long[] numbers:
                    foreach (long number in numbers)
                        attribute.Varint(8, number);
                    attribute.Varint(20, AttributeIntegers);
                    break;
                default:
                    throw new ArgumentException($"{name} of {op}: a {value.GetType()} is no attribute", nameof(attributes));
            }

            node.Message(5, attribute);
        }

        Encoded.Message(1, node);
    }
}
