using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Generation;

/// <summary>Decodes with a LLaMA: the arithmetic of <see cref="Llama.Hidden"/> on memory of its own.</summary>
internal sealed class LlamaDecoder : Decoder
{
    private readonly LlamaConfig config;
    private readonly DecoderShape shape;
    private readonly RotaryAngles angles;
    private readonly float[] angleRows;
    private readonly Block tokenTable, lastWeight;
    private readonly Layer[] layers;

    public LlamaDecoder(Llama model, Device device, int sequences, int capacity)
        : base(model, device, Shape((LlamaConfig)model.Config), sequences, capacity)
    {
        config = (LlamaConfig)model.Config;
        shape = Shape(config);
        Dictionary<string, Block> parameters = model.Parameters.ToDictionary(parameter => parameter.Name, parameter => parameter.Data);
        (tokenTable, lastWeight) = (parameters["model.embed_tokens.weight"], parameters["model.norm.weight"]);
        layers = [.. Enumerable.Range(0, config.Layers).Select(i => new Layer(parameters, $"model.layers.{i}."))];
        angles = model.Angles;
        angleRows = new float[Math.Max(sequences, capacity) * config.SizeOfHead];
        angles.Write([capacity - 1], angleRows); // so that its table does not grow in a step
    }

    private static DecoderShape Shape(LlamaConfig config) =>
        new(config.Layers, config.Channels, config.Heads, config.KeyHeadCount, config.SizeOfHead, config.Inner);

    private protected override void Embed(Activations a, ReadOnlySpan<int> positions)
    {
        Span<float> rows = angleRows.AsSpan(0, positions.Length * config.SizeOfHead);
        angles.Write(positions, rows);
        Device.Upload(rows, a.Angles);
        Device.Gather(tokenTable, a.Ids, a.Residual, config.Channels, accumulate: false);
    }

    private protected override void RunLayer(int layer, Activations a, Pass pass)
    {
        Layer w = layers[layer];
        Normalize(a, w.First);
        Device.Gemm([Part(a, w.Query, 0, shape.QueryWidth), Part(a, w.Key, shape.QueryWidth, shape.KeyWidth), Part(a, w.Value, shape.QueryWidth + shape.KeyWidth, shape.KeyWidth)]);
        AddBias(a, w.Query, 0, shape.QueryWidth);
        AddBias(a, w.Key, shape.QueryWidth, shape.KeyWidth);
        AddBias(a, w.Value, shape.QueryWidth + shape.KeyWidth, shape.KeyWidth);
        Device.Rotate(new RotationArguments(a.Packed, a.Angles) { Rows = a.Rows, Heads = shape.Heads + shape.KeyHeads, HeadSize = shape.HeadSize, Stride = shape.PackedWidth });
        Attend(layer, a, pass);
        AddProduct(a, a.Mixed, w.Output, shape.QueryWidth);
        Normalize(a, w.Second);
        var gate = new GemmArguments(a.Normal, w.Gate.Weight, a.Gate, a.Rows, shape.Inner, shape.Width) { TransposeB = true };
        Device.Gemm([gate, gate with { B = w.Up.Weight, C = a.Inner }]);
        if (w.Gate.Bias is { } gateBias && w.Up.Bias is { } upBias)
        {
            Device.Map(new AddRule(), a.Rows, shape.Inner, a.Gate, Operand.PerColumn(gateBias));
            Device.Map(new SwiGluOp.ForwardWithBias(), a.Rows, shape.Inner, a.Inner, Operand.PerColumn(upBias), a.Gate, a.Gate);
        }
        else
        {
            Device.Map(new SwiGluOp.Forward(), a.Rows, shape.Inner, a.Inner, a.Gate, a.Gate);
        }

        AddProduct(a, a.Gate, w.Down, shape.Inner);
    }

    private protected override Block Last(Activations a)
    {
        Normalize(a, lastWeight);
        return a.Normal;
    }

    private void Normalize(Activations a, in Block weight) =>
        Device.RowProgram(new RmsNormOp.Forward(1f / config.Channels, config.NormEpsilon), a.Rows, config.Channels,
            [a.Residual, Operand.PerColumn(weight), a.Normal, Operand.PerRow(a.Scale)]);

    /// <summary>Queries, keys or values, which lie beside each other.</summary>
    private GemmArguments Part(Activations a, in Projection projection, int column, int columns) =>
        new(a.Normal, projection.Weight, a.Packed.Slice(column, a.Packed.Length - column), a.Rows, columns, shape.Width) { TransposeB = true, StrideC = shape.PackedWidth };

    private void AddBias(Activations a, in Projection projection, int column, int columns)
    {
        if (projection.Bias is { } bias)
            Device.Map(new AddRule(), a.Rows, columns, new Operand(a.Packed.Slice(column, a.Packed.Length - column), Layout.Full, shape.PackedWidth), Operand.PerColumn(bias));
    }

    /// <summary>Adds a product to the residual stream.</summary>
    private void AddProduct(Activations a, in Block x, in Projection projection, int inputs)
    {
        var product = new GemmArguments(x, projection.Weight, a.Residual, a.Rows, shape.Width, inputs) { TransposeB = true, Beta = 1 };
        if (projection.Bias is { } bias)
            Device.Gemm(product, new AddRule(), Operand.PerColumn(bias));
        else
            Device.Gemm(product);
    }

    private readonly record struct Projection(Block Weight, Block? Bias)
    {
        public Projection(Dictionary<string, Block> parameters, string name)
            : this(parameters[name + ".weight"], parameters.TryGetValue(name + ".bias", out Block bias) ? bias : null)
        {
        }
    }

    private sealed class Layer(Dictionary<string, Block> parameters, string name)
    {
        public Block First { get; } = parameters[name + "input_layernorm.weight"];

        public Projection Query { get; } = new(parameters, name + "self_attn.q_proj");

        public Projection Key { get; } = new(parameters, name + "self_attn.k_proj");

        public Projection Value { get; } = new(parameters, name + "self_attn.v_proj");

        public Projection Output { get; } = new(parameters, name + "self_attn.o_proj");

        public Block Second { get; } = parameters[name + "post_attention_layernorm.weight"];

        public Projection Gate { get; } = new(parameters, name + "mlp.gate_proj");

        public Projection Up { get; } = new(parameters, name + "mlp.up_proj");

        public Projection Down { get; } = new(parameters, name + "mlp.down_proj");
    }
}
