using System.Text;
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace DecodingBenchmark;

/// <summary>A model of one of llama2.c's shapes with random weights: speed does not depend on what they are.</summary>
/// <param name="Name">What llama2.c calls it.</param>
/// <param name="Layers">Layers.</param>
/// <param name="HiddenSize">Numbers for each token.</param>
/// <param name="Heads">Heads.</param>
/// <param name="IntermediateSize">The width inside the feed-forward layer.</param>
/// <param name="Positions">The longest sequence.</param>
internal sealed record Shape(string Name, int Layers, int HiddenSize, int Heads, int IntermediateSize, int Positions)
{
    public const int Vocabulary = 32000;

    public static readonly Shape[] All = [new("15M", 6, 288, 6, 768, 256), new("110M", 12, 768, 12, 2048, 1024)];

    /// <summary>Bytes of weights that a token needs: all, the tied embedding once.</summary>
    public long Bytes => 4L * (Vocabulary * (long)HiddenSize + Layers * (4L * HiddenSize * HiddenSize + 3L * HiddenSize * IntermediateSize + 2 * HiddenSize) + HiddenSize);

    /// <summary>Writes the checkpoint, unless it is there.</summary>
    public string Write(string folder)
    {
        string path = Path.Combine(folder, $"random-{Name}.bin");
        if (File.Exists(path))
            return path;
        using var device = new CpuDevice();
        var config = new LlamaConfig
        {
            VocabularySize = Vocabulary,
            HiddenSize = HiddenSize,
            IntermediateSize = IntermediateSize,
            Layers = Layers,
            Heads = Heads,
            ContextLength = Positions,
            NormEpsilon = 1e-5f,
            TieWordEmbeddings = true,
        };
        using var model = new Transformer(config, new Initializer(device, 1));

        // A tied head with small random weights would repeat its input for ever; larger ones in the layers change it.
        var initializer = new Initializer(device, 2);
        foreach (Parameter parameter in model.Parameters.Where(parameter => parameter.Name.Contains("layers", StringComparison.Ordinal) && parameter.Shape.Count == 2))
            initializer.Fill(parameter, 2 / MathF.Sqrt(parameter.Shape[1]), 0);
        Llama2CFile.Export(model, path);
        return path;
    }

    /// <summary>Writes a tokenizer that llama2.c accepts: pieces of six letters.</summary>
    public static string WriteTokenizer(string folder)
    {
        string path = Path.Combine(folder, "tokenizer.bin");
        using var writer = new BinaryWriter(File.Create(path));
        writer.Write(6);
        for (int id = 0; id < Vocabulary; id++)
        {
            byte[] piece = Encoding.ASCII.GetBytes($"t{id:D5}");
            writer.Write(-(float)id);
            writer.Write(piece.Length);
            writer.Write(piece);
        }

        return path;
    }
}
