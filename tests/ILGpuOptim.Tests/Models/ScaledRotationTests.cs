using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>A whole Phi-3 with scaled rotations of part of each head, computed once more in f64 from the formulas.</summary>
public class ScaledRotationTests
{
    private const int Width = 12, Heads = 3, KeyHeads = 1, Size = 8, IntermediateSize = 10, VocabularySize = 17, Original = 6, Window = 4;

    private const string Config = """
        {"model_type":"phi3","vocab_size":17,"hidden_size":12,"intermediate_size":10,"num_hidden_layers":2,"num_attention_heads":3,"num_key_value_heads":1,"head_dim":8,
         "max_position_embeddings":24,"original_max_position_embeddings":6,"sliding_window":4,"partial_rotary_factor":0.5,"initializer_range":0.5,"pad_token_id":null,"rope_theta":50.0,
         "rope_scaling":{"type":"su","short_factor":[1.0,1.5],"long_factor":[2.0,7.0]}}
        """;

    [Theory]
    [InlineData(1)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(13)]
    public void LogitsAreThoseOfTheFormulas(int length)
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelConfig.Parse(Config, "config.json").Create(new Initializer(device, 5));
        int[] tokens = [.. Enumerable.Range(0, length).Select(i => i * 7 % VocabularySize)];
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        float[] actual = model.Logits(tape, tokens, 1).ToArray();
        double[][] expected = Forward(model.Parameters.ToDictionary(parameter => parameter.Name, parameter => parameter.ToArray()), tokens);
        for (int i = 0; i < length; i++)
        {
            for (int v = 0; v < VocabularySize; v++)
                Assert.Equal(expected[i][v], actual[i * VocabularySize + v], 1e-5);
        }
    }

    /// <summary>Scaled cosines and sines scale gradients as well: against central differences.</summary>
    [Theory]
    [InlineData("model.layers.0.self_attn.qkv_proj.weight")]
    [InlineData("model.layers.1.self_attn.qkv_proj.weight")]
    public void GradientsAreThoseOfTheFormulas(string name)
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelConfig.Parse(Config, "config.json").Create(new Initializer(device, 5));
        int[] tokens = [.. Enumerable.Range(0, 9).Select(i => i * 7 % VocabularySize)], targets = [.. tokens.Skip(1), -1];
        Parameter parameter = model.Parameters.Single(parameter => parameter.Name == name);
        var tape = new Tape(device);
        tape.Backward(model.Loss(tape, tokens, targets, 1));
        float[] gradient = new float[parameter.Length], values = parameter.ToArray();
        device.Download(tape.Gradients[parameter], gradient);
        Dictionary<string, float[]> weights = model.Parameters.ToDictionary(other => other.Name, other => other.ToArray());
        for (int i = 0; i < values.Length; i += 13)
        {
            const float step = 1.0f / 512;
            double Loss(float shift)
            {
                weights[name][i] = values[i] + shift;
                double[][] logits = Forward(weights, tokens);
                return Enumerable.Range(0, 8).Average(t => Math.Log(logits[t].Sum(Math.Exp)) - logits[t][targets[t]]);
            }

            double derivative = (Loss(step) - Loss(-step)) / (2 * step);
            weights[name][i] = values[i];
            Assert.Equal(derivative, gradient[i], 2e-5);
        }
    }

    private static double[][] Forward(Dictionary<string, float[]> weights, int[] tokens)
    {
        int length = tokens.Length;
        double[] divisors = length > Original ? [2.0, 7.0] : [1.0, 1.5];
        double magnitude = Math.Sqrt(1 + Math.Log(24.0 / Original) / Math.Log(Original));
        double[][] x = [.. tokens.Select(token => weights["model.embed_tokens.weight"].Skip(token * Width).Take(Width).Select(value => (double)value).ToArray())];
        for (int layer = 0; layer < 2; layer++)
        {
            string name = $"model.layers.{layer}.";
            double[][] packed = [.. x.Select(row => Product(weights[name + "self_attn.qkv_proj.weight"], Norm(row, weights[name + "input_layernorm.weight"])))];
            for (int i = 0; i < length; i++)
            {
                for (int head = 0; head < Heads + KeyHeads; head++)
                {
                    for (int k = 0; k < 2; k++)
                    {
                        double angle = i / Math.Pow(50, 2 * k / 4.0) / divisors[k];
                        double a = packed[i][head * Size + k], b = packed[i][head * Size + k + 2];
                        packed[i][head * Size + k] = magnitude * (a * Math.Cos(angle) - b * Math.Sin(angle));
                        packed[i][head * Size + k + 2] = magnitude * (b * Math.Cos(angle) + a * Math.Sin(angle));
                    }
                }
            }

            for (int i = 0; i < length; i++)
            {
                var mixed = new double[Heads * Size];
                for (int head = 0; head < Heads; head++)
                {
                    int[] keys = [.. Enumerable.Range(0, i + 1).Where(j => i - j < Window)];
                    double[] scores = [.. keys.Select(j => Math.Exp(Enumerable.Range(0, Size).Sum(c => packed[i][head * Size + c] * packed[j][Heads * Size + c]) / Math.Sqrt(Size)))];
                    for (int n = 0; n < keys.Length; n++)
                    {
                        for (int c = 0; c < Size; c++)
                            mixed[head * Size + c] += scores[n] / scores.Sum() * packed[keys[n]][(Heads + KeyHeads) * Size + c];
                    }
                }

                double[] attended = Product(weights[name + "self_attn.o_proj.weight"], mixed);
                double[] sum = [.. x[i].Zip(attended, (one, other) => one + other)];
                double[] gateUp = Product(weights[name + "mlp.gate_up_proj.weight"], Norm(sum, weights[name + "post_attention_layernorm.weight"]));
                double[] inner = [.. Enumerable.Range(0, IntermediateSize).Select(c => gateUp[c] / (1 + Math.Exp(-gateUp[c])) * gateUp[IntermediateSize + c])];
                x[i] = [.. sum.Zip(Product(weights[name + "mlp.down_proj.weight"], inner), (one, other) => one + other)];
            }
        }

        return [.. x.Select(row => Product(weights["lm_head.weight"], Norm(row, weights["model.norm.weight"])))];
    }

    private static double[] Norm(double[] row, float[] weight)
    {
        double scale = 1 / Math.Sqrt(row.Average(value => value * value) + 1e-5);
        return [.. row.Select((value, i) => value * scale * weight[i])];
    }

    private static double[] Product(float[] weight, double[] x) =>
        [.. Enumerable.Range(0, weight.Length / x.Length).Select(row => x.Select((value, i) => value * weight[row * x.Length + i]).Sum())];
}
