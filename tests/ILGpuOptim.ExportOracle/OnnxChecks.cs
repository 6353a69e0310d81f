using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace ILGpuOptim.ExportOracle;

/// <summary>Compares exported ONNX files in ONNX Runtime with recorded logits of PyTorch, and with the library on batches of other sizes.</summary>
internal static class OnnxChecks
{
    private const float Tolerance = 1e-4f;

    private sealed record Batch(int[] Ids, int Rows, int[] DecoderIds, float[] Logits, string From)
    {
        public int[] Mask { get; init; } = [];

        public int[] Segments { get; init; } = [];
    }

    /// <summary>Runs every model; true if all agree.</summary>
    public static bool Run(string goldens, string work, string? only)
    {
        using var device = new CpuDevice();
        bool all = true;
        Console.WriteLine($"{"model",-36}{"batch",10}{"largest logit",16}{"difference",14}  logits of");
        foreach ((string name, string? folder, LanguageModel model) in ExportOracle.Models.All(goldens, device))
        {
            using LanguageModel disposed = model;
            if (only is not null && !name.Contains(only, StringComparison.Ordinal))
                continue;
            string path = Path.Combine(work, name + ".onnx");
            // Half of the models have their larger weights in a second file.
            OnnxModelFile.Export(model, path, maxInside: name.Length % 2 == 0 ? 0 : OnnxFile.MaxInside);
            using var session = new InferenceSession(path);
            foreach (Batch batch in Batches(folder, model, device))
                all &= Compare(name, session, batch, model.HasEncoder);
        }

        return all;
    }

    private static IEnumerable<Batch> Batches(string? folder, LanguageModel model, CpuDevice device)
    {
        if (folder is not null && Recorded(folder, model) is { } recorded)
            yield return recorded;
        var random = new Random(5);
        int longest = Math.Min(model.Config.ContextLength, 300) - 2;
        foreach ((int rows, int length) in ((int, int)[])[(1, 1), (3, Math.Min(longest, 17)), (1, longest)])
        {
            int[] ids = Ids(rows * length), decoder = model.HasEncoder ? Ids(rows * 5) : [];
            using var tape = new Tape(device) { IsTraining = false, IsRecording = false };
            yield return new(ids, rows, decoder, model.Logits(tape, new TokenBatch(ids, rows) { DecoderTokens = decoder }).ToArray(), "the library");
        }

        int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(model.Config.VocabularySize))];
    }

    /// <summary>The recorded batch; null where it has documents or positions, which the exported file does not read.</summary>
    private static Batch? Recorded(string folder, LanguageModel model)
    {
        using Safetensors file = Safetensors.Open(Path.Combine(folder, "expected.safetensors"));
        if (file.Tensors.Keys.Any(name => name is "position_ids" or "document_ids"))
            return null;
        return new(file.ReadI32("input_ids"), (int)file["input_ids"].Shape[0], model.HasEncoder ? file.ReadI32("decoder_input_ids") : [], file.ReadF32("logits"), "PyTorch")
        {
            Mask = file.Tensors.ContainsKey("attention_mask") ? file.ReadI32("attention_mask") : [],
            Segments = file.Tensors.ContainsKey("token_type_ids") ? file.ReadI32("token_type_ids") : [],
        };
    }

    private static bool Compare(string name, InferenceSession session, Batch batch, bool hasEncoder)
    {
        List<NamedOnnxValue> inputs = [Input("input_ids", batch.Ids)];
        if (hasEncoder)
            inputs.Add(Input("decoder_input_ids", batch.DecoderIds));
        if (batch.Mask.Length > 0)
            inputs.Add(Input("attention_mask", batch.Mask));
        if (batch.Segments.Length > 0)
            inputs.Add(Input("token_type_ids", batch.Segments));
        using IDisposableReadOnlyCollection<DisposableNamedOnnxValue> outputs = session.Run(inputs);
        float[] found = outputs[0].AsTensor<float>().ToArray();
        float largest = batch.Logits.Max(Math.Abs), difference = found.Zip(batch.Logits, (x, y) => Math.Abs(x - y)).Max();
        bool isRight = found.Length == batch.Logits.Length && difference <= Tolerance * Math.Max(1, largest);
        Console.WriteLine($"{name,-36}{$"{batch.Rows} × {batch.Ids.Length / batch.Rows}",10}{largest,16:g4}{difference,14:g3}  {batch.From}{(isRight ? "" : "  FAILED")}");
        return isRight;

        NamedOnnxValue Input(string input, int[] ids) =>
            NamedOnnxValue.CreateFromTensor(input, new DenseTensor<long>(Array.ConvertAll(ids, id => (long)id), [batch.Rows, ids.Length / batch.Rows]));
    }
}
