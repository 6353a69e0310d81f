using LLama;
using LLama.Common;
using LLama.Native;

namespace ILGpuOptim.ExportOracle;

/// <summary>A GGUF file in llama.cpp, with keys and values in f32.</summary>
internal sealed class LlamaCpp : IDisposable
{
    private readonly LLamaWeights weights;
    private readonly LLamaContext context;

    static LlamaCpp() => NativeLibraryConfig.All.WithLogCallback((level, message) =>
    {
        if (level is LLamaLogLevel.Error || Verbose)
            Console.Error.Write($"llama.cpp: {message}");
    });

    public LlamaCpp(string path, uint contextSize)
    {
        var parameters = new ModelParams(path)
        {
            ContextSize = contextSize,
            GpuLayerCount = 0,
            Threads = 2,
            BatchThreads = 2,
            TypeK = GGMLType.GGML_TYPE_F32,
            TypeV = GGMLType.GGML_TYPE_F32,
            FlashAttention = false,
            // Negative: what the file says.
            YarnAttentionFactor = -1,
            YarnBetaFast = -1,
            YarnBetaSlow = -1,
            YarnExtrapolationFactor = -1,
        };
        weights = LLamaWeights.LoadFromFile(parameters);
        context = weights.CreateContext(parameters);
    }

    /// <summary>The model reads one text and writes another.</summary>
    public bool HasEncoder => weights.NativeHandle.HasEncoder;

    /// <summary>The first token of what a model with an encoder writes.</summary>
    public int StartToken => llama_model_decoder_start_token(weights.NativeHandle);

    /// <summary>Prints llama.cpp's messages.</summary>
    public static bool Verbose { get; set; }

    /// <summary>Reads the text that the decoder attends to.</summary>
    public void Encode(IReadOnlyList<int> tokens)
    {
        var batch = new LLamaBatch();
        for (int i = 0; i < tokens.Count; i++)
            batch.Add(tokens[i], i, LLamaSeqId.Zero, logits: true);
        DecodeResult result = context.NativeHandle.Encode(batch);
        if (result != DecodeResult.Ok)
            throw new InvalidOperationException($"llama.cpp's encode: {result}");
    }

    /// <summary>The logits after each token of a sequence.</summary>
    public float[][] Logits(IReadOnlyList<int> tokens)
    {
        context.NativeHandle.MemoryClear();
        var batch = new LLamaBatch();
        for (int i = 0; i < tokens.Count; i++)
            batch.Add(tokens[i], i, LLamaSeqId.Zero, logits: true);
        DecodeResult result = context.NativeHandle.Decode(batch);
        if (result != DecodeResult.Ok)
            throw new InvalidOperationException($"llama.cpp's decode: {result}");
        return [.. Enumerable.Range(0, tokens.Count).Select(i => context.NativeHandle.GetLogitsIth(i).ToArray())];
    }

    /// <summary>The most probable tokens after a prompt, one after another, with kept keys and values.</summary>
    public int[] Continue(IReadOnlyList<int> prompt, int count)
    {
        float[] logits = Logits(prompt)[^1];
        var result = new List<int>();
        while (true)
        {
            result.Add(Array.IndexOf(logits, logits.Max()));
            if (result.Count == count)
                return [.. result];
            var batch = new LLamaBatch();
            batch.Add(result[^1], prompt.Count + result.Count - 1, LLamaSeqId.Zero, logits: true);
            if (context.NativeHandle.Decode(batch) != DecodeResult.Ok)
                throw new InvalidOperationException("llama.cpp's decode failed");
            logits = context.NativeHandle.GetLogitsIth(0).ToArray();
        }
    }

    /// <summary>The ids of a text, without tokens around it.</summary>
    /// <param name="text">The text.</param>
    /// <param name="findsControl">Finds control tokens in it.</param>
    public int[] Tokenize(string text, bool findsControl) => [.. context.NativeHandle.Tokenize(text, add_bos: false, special: findsControl, System.Text.Encoding.UTF8).Select(token => (int)token)];

    /// <summary>The most probable text after a prompt, or a model's answer to it.</summary>
    public string Write(string prompt, int count)
    {
        int[] tokens = Tokenize(prompt, findsControl: true);
        var decoder = new StreamingTokenDecoder(context);
        if (HasEncoder)
            Encode([.. tokens, (int)weights.Vocab.EOS!]);
        decoder.AddRange(Continue(HasEncoder ? [StartToken] : tokens, count).TakeWhile(id => !HasEncoder || id != (int)weights.Vocab.EOS!).Select(id => (LLamaToken)id));
        return decoder.Read();
    }

    [System.Runtime.InteropServices.DllImport("llama")]
    private static extern int llama_model_decoder_start_token(SafeLlamaModelHandle model);

    public void Dispose()
    {
        context.Dispose();
        weights.Dispose();
    }
}
