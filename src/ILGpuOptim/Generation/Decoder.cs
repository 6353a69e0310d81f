using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Generation;

/// <summary>
/// A model that reads tokens once: the keys and values of each are kept. Several sequences of different lengths are decoded
/// together, aligned at their ends; the rows before a shorter one are masked. A step rents no new memory.
/// </summary>
public sealed class Decoder : IDisposable
{
    /// <summary>Added to the scores of masked keys.</summary>
    private const float Masked = -1e30f;

    private readonly Transformer model;
    private readonly KeyValueCache cache;
    private readonly KeyValueCache? encoded;
    private readonly Tape tape;
    private readonly Block states, bias;
    private readonly Block? encodedBias;
    private readonly int[] padding, positions, encodedLengths;
    private readonly int[][] read;
    private readonly float[] biasRows;
    private readonly int width;
    private bool padded, isDisposed;

    private Decoder(Transformer model, Device device, int sequences, int capacity, int encoderCapacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(sequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, model.Config.ContextLength);
        (this.model, Device, Sequences, Capacity) = (model, device, sequences, capacity);
        width = model.Description.HiddenSize;
        tape = new Tape(device) { IsRecording = false, IsTraining = false };
        cache = new KeyValueCache(device, model.Stack.KeyWidths, sequences, capacity);
        states = device.Pool.Rent((long)sequences * width);
        bias = device.Pool.Rent((long)sequences * capacity);
        padding = new int[sequences];
        positions = new int[Math.Max(sequences, capacity)];
        read = [.. Enumerable.Range(0, sequences).Select(_ => new int[capacity])];
        encodedLengths = new int[sequences];
        if (model.HasEncoder)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(encoderCapacity, 1);
            encoded = new KeyValueCache(device, model.Stack.CrossKeyWidths, sequences, encoderCapacity);
            encodedBias = device.Pool.Rent((long)sequences * encoderCapacity);
        }

        biasRows = new float[sequences * Math.Max(capacity, encoderCapacity)];
    }

    /// <summary>The number of sequences that are decoded at once.</summary>
    public int Sequences { get; }

    /// <summary>The most tokens of a sequence.</summary>
    public int Capacity { get; }

    /// <summary>Tokens of the longest sequence.</summary>
    public int Length { get; private set; }

    /// <summary>The device of the model and the cache.</summary>
    public Device Device { get; }

    /// <summary>Prepares a model for decoding. The model must outlive it.</summary>
    /// <param name="model">A causal model.</param>
    /// <param name="device">The model's device.</param>
    /// <param name="sequences">The number of sequences that are decoded at once.</param>
    /// <param name="capacity">The most tokens of each, at most the model's positions.</param>
    /// <param name="encoderCapacity">The most tokens of each that an encoder reads; 0 for a model without one.</param>
    /// <exception cref="UserException">The model does not predict a next token, or is no <see cref="Transformer"/>.</exception>
    public static Decoder Create(LanguageModel model, Device device, int sequences, int capacity, int encoderCapacity = 0)
    {
        if (model.Adapters.Count > 0 && !model.KeepsAdapters)
            throw new InvalidOperationException("a decoder would add the adapters to the weights at every token; merge the model's adapters first");
        if (!model.IsCausal)
            throw new UserException($"{model.Config.Family} predicts masked tokens, not what comes next, so it writes no text; take a causal model, such as GPT-2 or LLaMA");
        return model is Transformer transformer
            ? new Decoder(transformer, device, sequences, capacity, encoderCapacity)
            : throw new UserException($"{model.Config.Family} has no key-value cache, so it cannot generate text; only a causal {nameof(Transformer)} has one");
    }

    /// <summary>Encodes the input of a sequence, with a model that has an encoder; before its <see cref="Prefill"/>.</summary>
    /// <param name="sequence">Its number.</param>
    /// <param name="tokens">At least one, at most the encoder's capacity.</param>
    /// <exception cref="InvalidOperationException">The model has no encoder.</exception>
    public void Encode(int sequence, ReadOnlySpan<int> tokens)
    {
        if (encoded is null)
            throw new InvalidOperationException($"{model.Config.Family} has no encoder");
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens.Length, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens.Length, encoded.Capacity);
        Check(tokens);
        encodedLengths[sequence] = tokens.Length;
        encoded.Clear(sequence, tokens.Length, encoded.Capacity - tokens.Length);
        Tensor encodedStates = model.Encode(tape, new TokenBatch(tokens, 1)).States!;
        model.Stack.Keep(tape, encodedStates, new CacheWindow(encoded, sequence, 0, tokens.Length));
        tape.Reset();
    }

    /// <summary>Empties the cache, except for encoder states; the longest of the sequences that follow has <paramref name="length"/> tokens.</summary>
    public void Begin(int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Capacity);
        Length = length;
        padded = false;
    }

    /// <summary>Reads the beginning of a sequence in one pass.</summary>
    /// <param name="sequence">Its number.</param>
    /// <param name="tokens">At least one, at most the length given to <see cref="Begin"/>.</param>
    public void Prefill(int sequence, ReadOnlySpan<int> tokens)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens.Length, Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens.Length, 1);
        Check(tokens);
        Pad(sequence, Length - tokens.Length);
        tokens.CopyTo(read[sequence]);
        Read(sequence, tokens.Length);
    }

    /// <summary>
    /// Reads a text, as <see cref="Begin"/> and <see cref="Prefill"/> do. Keys and values of tokens with which the text read before begins too are kept, if few
    /// tokens follow them.
    /// </summary>
    /// <param name="tokens">At least one, at most the capacity.</param>
    /// <exception cref="InvalidOperationException">The decoder has several sequences.</exception>
    public void Resume(ReadOnlySpan<int> tokens)
    {
        // A token of a prefill takes about a quarter of the time of a step.
        const int StepsPerPrefill = 4;
        if (Sequences != 1)
            throw new InvalidOperationException($"the decoder has {Sequences} sequences; only one alone can be resumed");
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens.Length, Capacity);
        int known = Math.Min(read[0].AsSpan(0, Length).CommonPrefixLength(tokens), tokens.Length - 1);
        if (padded || known <= 0 || (tokens.Length - known) * StepsPerPrefill > tokens.Length || !model.Stack.KeepsKeys(known, Length))
        {
            Begin(tokens.Length);
            Prefill(0, tokens);
            return;
        }

        Length = known;
        foreach (int token in tokens[known..])
            Step([token]);
    }

    /// <summary>Copies the tokens read so far from one sequence to another.</summary>
    public void Copy(int source, int target)
    {
        int length = Length - padding[source];
        Pad(target, padding[source]);
        read[source].AsSpan(0, length).CopyTo(read[target]);
        cache.Copy(source, target, padding[source], length);
        Device.Copy(StateOf(source), StateOf(target));
        if (encoded is not null)
        {
            encoded.Copy(source, target, 0, encoded.Capacity);
            encodedLengths[target] = encodedLengths[source];
        }
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
        {
            places[i] = Length - padding[i];
            read[i][places[i]] = tokens[i];
        }

        int token = Length++;
        if (padded)
            Device.Upload(BiasRows(), bias.Slice(0, (long)Sequences * Length));
        var context = new ForwardContext(tape, Sequences, 1, model.Stack.Tables) { Cache = new CacheWindow(cache, -1, token, 1), KeyBias = padded ? bias : null, Encoded = EncodedOf(-1) };
        model.Stack.Rotate(context, places);
        Device.Copy(model.Decode(context, tokens, places).Data, states);
        tape.Reset();

        // Scaled rotary frequencies may change as a sequence grows; its keys are then computed again.
        for (int i = 0; i < Sequences; i++)
        {
            int length = Length - padding[i];
            if (!model.Stack.KeepsKeys(length - 1, length))
                Read(i, length);
        }
    }

    /// <summary>The logits of the next token of every sequence, sequences × vocabulary.</summary>
    public void Logits(Span<float> target)
    {
        Device.Download(model.LogitsOfStates(tape, new Tensor(Device, states, Sequences, width)).Data, target);
        tape.Reset();
    }

    /// <summary>Reads a sequence from its first token on.</summary>
    private void Read(int sequence, int length)
    {
        Span<int> places = positions.AsSpan(0, length);
        for (int i = 0; i < places.Length; i++)
            places[i] = i;
        var context = new ForwardContext(tape, 1, length, model.Stack.Tables) { Cache = new CacheWindow(cache, sequence, padding[sequence], length), Encoded = EncodedOf(sequence) };
        model.Stack.Rotate(context, places);
        Tensor x = model.Decode(context, read[sequence].AsSpan(0, length), places);
        Device.Copy(x.Data.Slice(x.Data.Length - width, width), StateOf(sequence));
        tape.Reset();
    }

    /// <summary>The encoder states of a sequence, or of all (-1), for cross-attention; null without an encoder.</summary>
    private EncodedStates? EncodedOf(int sequence)
    {
        if (encoded is null)
            return null;
        if (sequence >= 0)
            return new EncodedStates(encodedLengths[sequence], null) { Kept = encoded, Sequence = sequence };
        int longest = encodedLengths.Max();
        if (Array.TrueForAll(encodedLengths, length => length == longest))
            return new EncodedStates(longest, null) { Kept = encoded };
        Span<float> rows = biasRows.AsSpan(0, Sequences * longest);
        rows.Clear();
        for (int i = 0; i < Sequences; i++)
            rows.Slice(i * longest + encodedLengths[i], longest - encodedLengths[i]).Fill(Masked);
        Device.Upload(rows, encodedBias!.Value.Slice(0, rows.Length));
        return new EncodedStates(longest, encodedBias) { Kept = encoded };
    }

    private Block StateOf(int sequence) => states.Slice((long)sequence * width, width);

    private void Pad(int sequence, int rows)
    {
        padding[sequence] = rows;
        if (rows == 0)
            return;
        padded = true;
        cache.Clear(sequence, 0, rows);
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
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new UserException($"token {token} lies outside the model's vocabulary of {model.Config.VocabularySize}");
        }
    }

    /// <summary>Returns the memory; a second call does nothing.</summary>
    public void Dispose()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        tape.Dispose();
        cache.Dispose();
        encoded?.Dispose();
        if (encodedBias is { } rented)
            Device.Pool.Return(rented);
        Device.Pool.Return(states);
        Device.Pool.Return(bias);
    }
}
