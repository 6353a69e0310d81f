using ILGpuOptim.Compute;
using ILGpuOptim.Models;

namespace ILGpuOptim.Generation;

/// <summary>
/// A model that reads tokens once: the keys and values of each are kept. Several sequences of different lengths are decoded
/// together, aligned at their ends; the rows before a shorter one are masked. A step allocates nothing.
/// </summary>
public abstract class Decoder : IDisposable
{
    /// <summary>Added to the scores of masked keys.</summary>
    private const float Masked = -1e30f;

    private readonly LanguageModel model;
    private readonly KeyValueCache cache;
    private readonly DecoderShape shape;
    private readonly Activations step;
    private readonly Block logits, bias;
    private readonly int[] padding, positions;
    private readonly float[] biasRows;
    private bool padded, isDisposed;

    private protected Decoder(LanguageModel model, Device device, DecoderShape shape, int sequences, int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(sequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, model.Config.Positions);
        (this.model, Device, this.shape, Sequences, Capacity) = (model, device, shape, sequences, capacity);
        cache = new KeyValueCache(device, shape.Layers, sequences, capacity, shape.KeyWidth);
        step = new Activations(device, sequences, shape);
        logits = device.Pool.Rent((long)sequences * model.Config.Vocabulary);
        bias = device.Pool.Rent((long)sequences * capacity);
        biasRows = new float[sequences * capacity];
        padding = new int[sequences];
        positions = new int[Math.Max(sequences, capacity)];
    }

    /// <summary>How many sequences are decoded at once.</summary>
    public int Sequences { get; }

    /// <summary>The most tokens of a sequence.</summary>
    public int Capacity { get; }

    /// <summary>Tokens of the longest sequence.</summary>
    public int Length { get; private set; }

    /// <summary>Where everything runs.</summary>
    private protected Device Device { get; }

    /// <summary>Lays a model out for decoding. The model must outlive it.</summary>
    /// <param name="model">A causal model.</param>
    /// <param name="device">Where it is.</param>
    /// <param name="sequences">How many are decoded at once.</param>
    /// <param name="capacity">The most tokens of each, at most the model's positions.</param>
    /// <exception cref="UserException">The model does not predict a next token.</exception>
    public static Decoder Create(LanguageModel model, Device device, int sequences, int capacity) => model switch
    {
        { Adapters.Count: > 0 } => throw new InvalidOperationException("a decoder reads the weights themselves; merge the model's adapters first"),
        Gpt2 gpt2 => new Gpt2Decoder(gpt2, device, sequences, capacity),
        Llama llama => new LlamaDecoder(llama, device, sequences, capacity),
        _ => throw new UserException($"{model.GetType().Name} does not predict what comes next, so it writes no text; take a GPT-2 or LLaMA"),
    };

    /// <summary>Forgets everything; the longest of the sequences that follow has <paramref name="length"/> tokens.</summary>
    public void Begin(int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Capacity);
        Length = length;
        padded = false;
    }

    /// <summary>Reads the beginning of a sequence in one pass.</summary>
    /// <param name="sequence">Its number.</param>
    /// <param name="tokens">At least one, at most what <see cref="Begin"/> was told.</param>
    public void Prefill(int sequence, ReadOnlySpan<int> tokens)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens.Length, Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens.Length, 1);
        Check(tokens);
        Pad(sequence, Length - tokens.Length);
        using var activations = new Activations(Device, tokens.Length, shape);
        Span<int> places = positions.AsSpan(0, tokens.Length);
        for (int i = 0; i < places.Length; i++)
            places[i] = i;
        Run(activations, tokens, places, new Pass(sequence, padding[sequence]));
        Device.Copy(activations.Residual.Slice((tokens.Length - 1L) * shape.Width, shape.Width), step.Residual.Slice((long)sequence * shape.Width, shape.Width));
    }

    /// <summary>Makes a sequence begin as another one.</summary>
    public void Copy(int source, int target)
    {
        Pad(target, padding[source]);
        cache.Copy(source, target, padding[source], Length - padding[source]);
        Device.Copy(step.Residual.Slice((long)source * shape.Width, shape.Width), step.Residual.Slice((long)target * shape.Width, shape.Width));
    }

    /// <summary>Reads one more token of every sequence; there must be room for it.</summary>
    public void Step(ReadOnlySpan<int> tokens)
    {
        if (tokens.Length != Sequences)
            throw new ArgumentException($"{tokens.Length} tokens for {Sequences} sequences", nameof(tokens));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(Length, Capacity);
        Check(tokens);
        Span<int> places = positions.AsSpan(0, Sequences);
        for (int i = 0; i < places.Length; i++)
            places[i] = Length - padding[i];
        int token = Length++;
        if (padded)
            Device.Upload(BiasRows(), bias.Slice(0, (long)Sequences * Length));
        Run(step, tokens, places, new Pass(-1, token));
    }

    /// <summary>What follows the last token of every sequence: Sequences × vocabulary logits.</summary>
    public void Logits(Span<float> target)
    {
        Block hidden = Last(step);
        Parameter head = model.Head;
        var product = new GemmArguments(hidden, head.Data, logits, Sequences, model.Config.Vocabulary, shape.Width) { TransposeB = true };
        if (model.HeadBias is { } headBias)
            Device.Gemm(product, new AddRule(), Operand.PerColumn(headBias.Data));
        else
            Device.Gemm(product);
        Device.Download(logits, target);
    }

    private void Run(Activations activations, ReadOnlySpan<int> tokens, ReadOnlySpan<int> places, Pass pass)
    {
        Device.Upload(tokens, activations.Ids);
        Embed(activations, places);
        for (int layer = 0; layer < shape.Layers; layer++)
            RunLayer(layer, activations, pass);
    }

    /// <summary>Writes the residual stream of tokens.</summary>
    private protected abstract void Embed(Activations a, ReadOnlySpan<int> positions);

    /// <summary>Takes the residual stream through a layer.</summary>
    private protected abstract void RunLayer(int layer, Activations a, Pass pass);

    /// <summary>Normalises the residual stream after the last layer.</summary>
    private protected abstract Block Last(Activations a);

    /// <summary>Stores the keys and values of new tokens and lets these look at all before them.</summary>
    private protected void Attend(int layer, Activations a, Pass pass, float? scale = null)
    {
        Block stored = a.Packed.Slice(shape.QueryWidth, a.Packed.Length - shape.QueryWidth);
        bool all = pass.Sequence < 0;
        if (all)
            cache.Append(layer, pass.Token, stored, shape.PackedWidth);
        else
            cache.Append(layer, pass.Sequence, pass.Token, a.Rows, stored, shape.PackedWidth);
        (Block keys, Block values) = all ? cache.From(layer, 0, 0) : cache.From(layer, pass.Sequence, pass.Token);
        Device.AttentionForward(new AttentionArguments(a.Packed, keys, values, a.Mixed)
        {
            Batch = all ? Sequences : 1,
            Heads = shape.Heads,
            KeyHeads = shape.KeyHeads,
            HeadSize = shape.HeadSize,
            QueryLength = all ? 1 : a.Rows,
            KeyLength = all ? Length : a.Rows,
            KeyCapacity = Capacity,
            QueryStride = shape.PackedWidth,
            KeyStride = cache.RowWidth,
            OutputStride = shape.QueryWidth,
            Causal = true,
            Scale = scale ?? 1 / MathF.Sqrt(shape.HeadSize),
            KeyBias = all && padded ? bias : null,
        });
    }

    private void Pad(int sequence, int rows)
    {
        padding[sequence] = rows;
        if (rows == 0)
            return;
        padded = true;
        cache.Clear(sequence, rows);
    }

    private ReadOnlySpan<float> BiasRows()
    {
        Span<float> rows = biasRows.AsSpan(0, Sequences * Length);
        rows.Clear();
        for (int i = 0; i < Sequences; i++)
            rows.Slice(i * Length, padding[i]).Fill(Masked);
        return rows;
    }

    private void Check(ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)model.Config.Vocabulary)
                throw new UserException($"token {token} lies outside the model's vocabulary of {model.Config.Vocabulary}");
        }
    }

    /// <summary>Gives the memory back; again, does nothing.</summary>
    public void Dispose()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        cache.Dispose();
        step.Dispose();
        Device.Pool.Return(logits);
        Device.Pool.Return(bias);
        GC.SuppressFinalize(this);
    }

    /// <summary>Which tokens a pass reads: some of one sequence, or the next of all.</summary>
    /// <param name="Sequence">Its number; -1 means all.</param>
    /// <param name="Token">The row of the first token.</param>
    private protected readonly record struct Pass(int Sequence, int Token);
}
