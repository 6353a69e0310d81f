using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Generation;

/// <summary>Decodes with a GPT-2: the arithmetic of <see cref="Gpt2.Hidden"/> on memory of its own.</summary>
internal sealed class Gpt2Decoder : Decoder
{
    private readonly Gpt2Config config;
    private readonly Block tokenTable, positionTable;
    private readonly Block[][] layers;
    private readonly Block lastWeight, lastBias;
    private readonly Activation activation;

    public Gpt2Decoder(Gpt2 model, Device device, int sequences, int capacity)
        : base(model, device, Shape((Gpt2Config)model.Config), sequences, capacity)
    {
        config = (Gpt2Config)model.Config;
        activation = ActivationNames.Find(config.ActivationFunction)!.Value;
        Dictionary<string, Block> parameters = model.Parameters.ToDictionary(parameter => parameter.Name, parameter => parameter.Data);
        (tokenTable, positionTable) = (parameters["wte.weight"], parameters["wpe.weight"]);
        (lastWeight, lastBias) = (parameters["ln_f.weight"], parameters["ln_f.bias"]);
        string[] parts = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"];
        layers = [.. Enumerable.Range(0, config.Layers).Select(i =>
            parts.SelectMany(part => new[] { parameters[$"h.{i}.{part}.weight"], parameters[$"h.{i}.{part}.bias"] }).ToArray())];
    }

    private static DecoderShape Shape(Gpt2Config config) =>
        new(config.Layers, config.Channels, config.Heads, config.Heads, config.Channels / config.Heads, config.InnerWidth);

    private protected override void Embed(Activations a, ReadOnlySpan<int> positions)
    {
        Device.Upload(positions, a.Positions);
        Device.Gather(positionTable, a.Positions, a.Residual, config.Channels, accumulate: false);
        Device.Gather(tokenTable, a.Ids, a.Residual, config.Channels, accumulate: true);
    }

    private protected override void RunLayer(int layer, Activations a, Pass pass)
    {
        Block[] w = layers[layer];
        int width = config.Channels, inner = config.InnerWidth;
        Normalize(a, w[0], w[1]);
        Device.Gemm(Product(a, a.Normal, w[2], a.Packed, 3 * width, width), new AddRule(), Operand.PerColumn(w[3]));
        Attend(layer, a, pass, config.AttentionScale(layer));
        Device.Gemm(Product(a, a.Mixed, w[4], a.Residual, width, width) with { Beta = 1 }, new AddRule(), Operand.PerColumn(w[5]));
        Normalize(a, w[6], w[7]);
        LinearActivationOp.Product(Device, Product(a, a.Normal, w[8], a.Inner, inner, width), Operand.PerColumn(w[9]), a.Gate, activation);
        Device.Gemm(Product(a, a.Inner, w[10], a.Residual, width, inner) with { Beta = 1 }, new AddRule(), Operand.PerColumn(w[11]));
    }

    private protected override Block Last(Activations a)
    {
        Normalize(a, lastWeight, lastBias);
        return a.Normal;
    }

    private static GemmArguments Product(Activations a, in Block x, in Block weight, in Block result, int outputs, int inputs) =>
        new(x, weight, result, a.Rows, outputs, inputs);

    private void Normalize(Activations a, in Block weight, in Block bias) =>
        Device.RowProgram(new LayerNormOp.Forward(1f / config.Channels, config.LayerNormEpsilon), a.Rows, config.Channels,
            [a.Residual, Operand.PerColumn(weight), Operand.PerColumn(bias), a.Normal, Operand.PerRow(a.Mean), Operand.PerRow(a.Scale)]);
}
