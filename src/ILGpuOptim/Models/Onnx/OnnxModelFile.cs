using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Models as ONNX files, which ONNX Runtime and other programs run.</summary>
public static class OnnxModelFile
{
    /// <summary>
    /// Writes the forward pass of a transformer in f32: from <c>input_ids</c>, 64-bit integers of batch × sequence, to <c>logits</c>, batch × sequence ×
    /// vocabulary. An encoder-decoder also reads <c>decoder_input_ids</c>. <c>attention_mask</c> (0 for padding) and <c>token_type_ids</c> (of models with
    /// segments) may be left out. Positions count from 0, and every expert computes every token. Above 1.9 GB the weights are in a second file, FILE.data.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="path">The file; it appears whole or not at all.</param>
    /// <exception cref="UserException">The model has an activation that ONNX does not have, is no transformer of the library, or the file cannot be written.</exception>
    public static void Export(LanguageModel model, string path) => Export(model, path, OnnxFile.MaxInside);

    /// <summary>As <see cref="Export(LanguageModel, string)"/>, with another size from which the weights are in a second file.</summary>
    internal static void Export(LanguageModel model, string path, long maxInside)
    {
        TransformerDescription description = (model as Transformer)?.Description ?? throw new UserException($"{model.Config.Family} is no transformer of the library, so it cannot be exported");
        try
        {
            OnnxFile.Write(path, new OnnxTransformer(description, model.Parameters).Build(), maxInside);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the file cannot be written: {e.Message}", e);
        }
    }
}
