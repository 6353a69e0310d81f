using ILGpuOptim.Compute;
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
    private readonly Tape tape;
    private readonly Block states, bias;
    private readonly int[] padding, positions;
    private readonly float[] biasRows;
    private readonly int width;
    private bool padded, isDisposed;

    private Decoder(Transformer model, Device device, int sequences, int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(sequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, model.Config.Positions);
        (this.model, Device, Sequences, Capacity) = (model, device, sequences, capacity);
        width = model.Description.HiddenSize;
        tape = new Tape(device) { IsRecording = false, IsTraining = false };
        cache = new KeyValueCache(device, model.KeyWidths, sequences, capacity);
        states = device.Pool.Rent((long)sequences * width);
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
    public Device Device { get; }

    /// <summary>Prepares a model for decoding. The model must outlive it.</summary>
    /// <param name="model">A causal model.</param>
    /// <param name="device">Where it is.</param>
    /// <param name="sequences">How many are decoded at once.</param>
    /// <param name="capacity">The most tokens of each, at most the model's positions.</param>
    /// <exception cref="UserException">The model does not predict a next token.</exception>
    /// <exception cref="NotSupportedException">The model is no <see cref="Transformer"/>.</exception>
    public static Decoder Create(LanguageModel model, Device device, int sequences, int capacity)
    {
        if (model.Adapters.Count > 0)
            throw new InvalidOperationException("a decoder would add the adapters to the weights at every token; merge the model's adapters first");
        if (!model.IsCausal)
            throw new UserException($"{model.Config.Family} predicts masked tokens, not what comes next, so it writes no text; take a causal model, such as GPT-2 or LLaMA");
        return model is Transformer transformer
            ? new Decoder(transformer, device, sequences, capacity)
            : throw new NotSupportedException($"{model.GetType().Name} keeps no keys and values; only a {nameof(Transformer)} is decoded");
    }

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
        Span<int> places = positions.AsSpan(0, tokens.Length);
        for (int i = 0; i < places.Length; i++)
            places[i] = i;
        Tensor x = model.Decode(tape, new CacheWindow(cache, sequence, padding[sequence], tokens.Length), tokens, places, null);
        Device.Copy(x.Data.Slice(x.Data.Length - width, width), StateOf(sequence));
        tape.Reset();
    }

    /// <summary>Makes a sequence begin as another one.</summary>
    public void Copy(int source, int target)
    {
        Pad(target, padding[source]);
        cache.Copy(source, target, padding[source], Length - padding[source]);
        Device.Copy(StateOf(source), StateOf(target));
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
        Tensor x = model.Decode(tape, new CacheWindow(cache, -1, token, 1), tokens, places, padded ? bias : null);
        Device.Copy(x.Data, states);
        tape.Reset();
    }

    /// <summary>What follows the last token of every sequence: Sequences × vocabulary logits.</summary>
    public void Logits(Span<float> target)
    {
        Device.Download(model.LogitsOfStates(tape, new Tensor(Device, states, Sequences, width)).Data, target);
        tape.Reset();
    }

    private Block StateOf(int sequence) => states.Slice((long)sequence * width, width);

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
        tape.Reset();
        cache.Dispose();
        Device.Pool.Return(states);
        Device.Pool.Return(bias);
    }
}
