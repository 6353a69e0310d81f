using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.ExportOracle;

/// <summary>Compares exported GGUF files in llama.cpp with the library.</summary>
internal static class GgufChecks
{
    private const int Prompt = 7, Length = 24, MaxContext = 256;

    /// <summary>Runs every model in every type; true if all agree.</summary>
    public static bool Models(string goldens, string work, string? only)
    {
        using var device = new CpuDevice();
        bool all = true;
        Console.WriteLine($"{"model",-36}{"type",-6}{"largest logit",14}{"difference",14}  greedy ids");
        foreach ((string name, _, LanguageModel model) in ExportOracle.Models.All(goldens, device))
        {
            using LanguageModel disposed = model;
            if (only is not null && !name.Contains(only, StringComparison.Ordinal))
                continue;
            foreach (GgufType type in Enum.GetValues<GgufType>())
            {
                string path = Path.Combine(work, $"{name}-{type}.gguf");
                try
                {
                    GgufModelFile.Export(model, null, [], path, type);
                }
                catch (UserException e)
                {
                    Console.WriteLine($"{name,-36}refused: {e.Message}");
                    break;
                }

                try
                {
                    all &= Compare(name, path, type, device);
                }
                catch (Exception e) when (e is LLama.Exceptions.LoadWeightsFailedException or UserException)
                {
                    Console.WriteLine($"{name,-36}{type,-6}FAILED: {e.Message}");
                    all = false;
                }

                File.Delete(path);
            }
        }

        return all;
    }

    private static bool Compare(string name, string path, GgufType type, CpuDevice device)
    {
        using LanguageModel stored = GgufModelFile.Import(path, device, null);
        int vocabulary = stored.Config.VocabularySize, context = Math.Min(MaxContext, stored.Config.ContextLength), length = Math.Min(Length, context);
        var random = new Random(3);
        // With an encoder, longer than llama.cpp's largest distance of relative positions.
        int[] tokens = Tokens(stored.HasEncoder ? context : length), read = stored.HasEncoder ? Tokens(context) : [];
        float[] ours = ExportOracle.Models.Logits(stored, device, tokens, read);
        using var llama = new LlamaCpp(path, (uint)context);
        if (stored.HasEncoder)
            llama.Encode(read);
        float[] theirs = [.. llama.Logits(tokens).SelectMany(row => row)];
        float largest = ours.Max(Math.Abs);
        float[] differences = [.. ours.Zip(theirs, (x, y) => Math.Abs(x - y)).Chunk(vocabulary).Select(row => row.Max()).Order()];

        // A rounding error may send a token to another expert, so narrow types of such models are compared by the median position.
        bool byMedian = stored.Config is MixtralConfig or Qwen3MoeConfig && type is not (GgufType.F32 or GgufType.F16);
        float difference = byMedian ? differences[differences.Length / 2] : differences[^1];
        int[] prompt = stored.HasEncoder ? [llama.StartToken] : tokens[..Math.Min(Prompt, length / 2)];
        int[] expected = ExportOracle.Models.Continue(stored, device, stored.HasEncoder ? read : prompt, length - prompt.Length), found = llama.Continue(prompt, length - prompt.Length);
        bool isSame = expected.SequenceEqual(found);
        // llama.cpp rounds activations to f16, bf16 or 8 bits for weights of these types, and looks gelu up in a table of f16.
        bool isClose = difference <= largest * type switch { GgufType.F32 => 2e-3f, GgufType.F16 => 5e-3f, GgufType.BF16 => 3e-2f, _ => 5e-2f };
        bool isRight = isClose && (isSame || type is GgufType.Q8_0 or GgufType.Q4_0 or GgufType.BF16);
        Console.WriteLine($"{name,-36}{type,-6}{largest,14:g4}{difference,14:g3}  {(isSame ? "the same" : $"differ after {expected.Zip(found).TakeWhile(pair => pair.First == pair.Second).Count()} of {expected.Length}")}{(isRight ? "" : "  FAILED")}");
        return isRight;

        int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(vocabulary))];
    }
}
