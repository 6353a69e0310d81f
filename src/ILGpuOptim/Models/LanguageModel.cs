using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Models;

/// <summary>
/// A language model: it computes logits from token ids. <see cref="Transformer"/> is the model of every built-in family. A class of your own overrides
/// <see cref="Config"/> and <see cref="Logits(Tape, in TokenBatch)"/>; it is then trained, saved, resumed and evaluated like the others.
/// </summary>
public abstract class LanguageModel : Layer, IDisposable
{
    private readonly List<LoraAdapter> adapters = [];

    /// <summary>The configuration, as <c>config.json</c> holds it.</summary>
    public abstract ModelConfig Config { get; }

    /// <summary>The output projection, vocabulary × hidden size, which gets no adapter; null for a model without one.</summary>
    public virtual Parameter? Head => null;

    /// <summary>True if each position predicts the next token; false for masked language models, which predict the masked tokens.</summary>
    public virtual bool IsCausal => true;

    /// <summary>Enables recomputation: activations within a block are computed again in the backward pass instead of being kept.</summary>
    public bool Recomputes { get; set; }

    /// <summary>True if the model honours <see cref="Recomputes"/>. Training refuses <c>recompute</c> for other models.</summary>
    public virtual bool SupportsRecomputation => false;

    /// <summary>
    /// True if the model honours <see cref="TokenBatch.Documents"/> and <see cref="TokenBatch.Mask"/>. Training and evaluation refuse <c>documents</c>
    /// for other models.
    /// </summary>
    public virtual bool SupportsDocuments => false;

    /// <summary>True for an encoder-decoder, whose batches have <see cref="TokenBatch.DecoderTokens"/>.</summary>
    public virtual bool HasEncoder => false;

    /// <summary>True if <see cref="Generation.TextGenerator"/> can generate text with the model: a causal <see cref="Transformer"/>, which has a key-value cache.</summary>
    public virtual bool WritesText => false;

    /// <summary>The first token of an encoder-decoder's decoder input.</summary>
    internal virtual int StartToken => 0;

    /// <summary>The decoder input that predicts targets; empty for models without an encoder.</summary>
    internal virtual int[] DecoderTokensFor(ReadOnlySpan<int> targets, int sequences) => [];

    /// <summary>The tensors of other heads (<see cref="ModelConfig.OtherHeads"/>) in the file that the weights were loaded from; they are not used.</summary>
    public IReadOnlyList<string> UnusedTensors { get; internal set; } = [];

    /// <summary>The bytes of the <c>generation_config.json</c> that lay beside the loaded weights; or null.</summary>
    internal byte[]? GenerationConfig { get; set; }

    /// <summary>The LoRA adapters.</summary>
    public IReadOnlyList<LoraAdapter> Adapters => adapters;

    /// <summary>True if adapters stay products of their own, beside quantised weights, into which they cannot be merged.</summary>
    internal bool KeepsAdapters => Config.Quantization is not null;

    /// <summary>The model's parameters and those of its adapters.</summary>
    public IReadOnlyList<Parameter> AllParameters => [.. Parameters, .. adapters.SelectMany(adapter => adapter.Parameters)];

    /// <summary>The linear layers that can have an adapter: all but an untied head.</summary>
    internal IEnumerable<Linear> Adaptable => Linears.Where(linear => linear.Weight != Head);

    /// <summary>The number of trainable and frozen elements, without adapters.</summary>
    public long ParameterCount
    {
        get
        {
            long count = 0;
            foreach (Parameter parameter in Parameters)
                count += parameter.Length;
            return count;
        }
    }

    /// <summary>
    /// The mean cross-entropy in nats per token, plus the routers' load-balancing loss if the configuration adds it, times <paramref name="scale"/>.
    /// Negative targets are ignored.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="batch">The tokens with their optional masks and positions.</param>
    /// <param name="targets">The token that each position should predict, one for each row of <see cref="Logits(Tape, in TokenBatch)"/>.</param>
    /// <param name="scale">1 / the number of batches whose gradients are added up.</param>
    /// <returns>A scalar.</returns>
    public Tensor Loss(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, float scale = 1) => Losses(tape, batch, targets, scale).Total;

    /// <summary>The loss of plain sequences.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="tokens">batch · length ids.</param>
    /// <param name="targets">The token that each position should predict.</param>
    /// <param name="batch">The number of sequences.</param>
    /// <param name="scale">1 / the number of batches whose gradients are added up.</param>
    public Tensor Loss(Tape tape, ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, int batch, float scale = 1) =>
        Loss(tape, new TokenBatch(tokens, batch), targets, scale);

    /// <summary>
    /// As <see cref="Loss(Tape, in TokenBatch, ReadOnlySpan{int}, float)"/>, with the terms of the loss. By default the cross-entropy of
    /// <see cref="Logits(Tape, in TokenBatch)"/>; a <see cref="Transformer"/> computes it without holding all logits.
    /// </summary>
    public virtual LossParts Losses(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, float scale = 1)
    {
        int[] counted = [.. targets];
        int count = 0;
        foreach (ref int target in counted.AsSpan())
        {
            target = Math.Max(target, -1);
            count += target < 0 ? 0 : 1;
        }

        Tensor sum = tape.CrossEntropy(Logits(tape, batch), counted, ignored: -1, reduction: LossReduction.Sum);
        Tensor loss = tape.Affine(sum, scale / Math.Max(count, 1));
        loss.IsKept = true;
        return new LossParts(loss, loss, null);
    }

    /// <summary>The negative log-probability of each target in f32; 0 where the target is negative.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="batch">The tokens with their optional masks and positions.</param>
    /// <param name="targets">The token that each position should predict.</param>
    /// <param name="router">The routers' load-balancing loss times its coefficient; null for a model without it.</param>
    internal virtual Tensor TokenLosses(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, out Tensor? router)
    {
        int[] counted = [.. targets];
        foreach (ref int target in counted.AsSpan())
            target = Math.Max(target, -1);
        router = null;
        return tape.CrossEntropy(Logits(tape, batch).Reshape(targets.Length, -1), counted, ignored: -1, reduction: LossReduction.None);
    }

    /// <summary>The logits of every position, … × vocabulary, sequence by sequence. The rows are the decoder's in an encoder-decoder.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="batch">The tokens with their optional masks and positions.</param>
    /// <exception cref="ArgumentException">The spans of the batch do not fit together, or a sequence is longer than the model's context.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An id lies outside its table.</exception>
    public abstract Tensor Logits(Tape tape, in TokenBatch batch);

    /// <summary>The logits of some positions, rows × vocabulary.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="batch">The tokens with their optional masks and positions.</param>
    /// <param name="rows">Indices of positions, counted through all sequences.</param>
    public virtual Tensor LogitsOf(Tape tape, in TokenBatch batch, ReadOnlySpan<int> rows) =>
        tape.IndexSelect(Logits(tape, batch).Reshape(-1, Config.VocabularySize), 0, rows);

    /// <summary>Logits of every position of plain sequences, (batch · length) × vocabulary.</summary>
    public Tensor Logits(Tape tape, ReadOnlySpan<int> tokens, int batch) => Logits(tape, new TokenBatch(tokens, batch));

    /// <summary>
    /// Targets from labels in Hugging Face's convention: decoder-only models shift them by one (the last position of a sequence has no target);
    /// negative labels are ignored.
    /// </summary>
    /// <param name="labels">batch · length ids.</param>
    /// <param name="batch">The number of sequences.</param>
    /// <returns>batch · length targets.</returns>
    /// <exception cref="ArgumentException">The labels are not that many sequences of one length.</exception>
    public virtual int[] TargetsOf(ReadOnlySpan<int> labels, int batch)
    {
        if (batch < 0 || (batch == 0 ? labels.Length > 0 : labels.Length % batch != 0))
            throw new ArgumentException($"{labels.Length} labels are not {batch} sequences of one length", nameof(labels));
        int length = batch == 0 ? 0 : labels.Length / batch;
        var targets = new int[labels.Length];
        for (int i = 0; i < targets.Length; i++)
            targets[i] = (i + 1) % length == 0 ? -1 : labels[i + 1];
        return targets;
    }

    /// <summary>Freezes every parameter and adds adapters to some linear layers. The rank is limited to the short side of the largest of them.</summary>
    /// <exception cref="UserException">A target matches no linear layer.</exception>
    public void AddAdapters(LoraOptions options, Initializer initializer)
    {
        Ranges.Check(options);
        var adapted = new List<Linear>();
        foreach (string target in options.Targets.Count > 0 ? options.Targets : Config.LoraTargets)
        {
            Linear[] found = [.. Adaptable.Where(linear => IsTarget(linear.Name, target))];
            if (found.Length == 0)
                throw UserException.NamingSettings($"{nameof(options.Targets):setting} {target}: the model has no such linear layer; it has {string.Join(", ", Adaptable.Select(linear => LastPart(linear.Name)).Distinct())}");
            adapted.AddRange(found.Where(linear => linear.Adapter is null && !adapted.Contains(linear)));
        }

        int rank = Math.Min(options.Rank, adapted.Select(linear => Math.Min(linear.Inputs, linear.Outputs)).DefaultIfEmpty(options.Rank).Max());
        foreach (Linear linear in adapted)
            AddAdapter(linear, options with { Rank = rank }, initializer);
    }

    /// <summary>Freezes every parameter and adds an adapter to one linear layer.</summary>
    /// <exception cref="UserException">The weight is quantised, and the adapter needs all of it.</exception>
    internal LoraAdapter AddAdapter(Linear linear, LoraOptions options, Initializer initializer)
    {
        if (linear.Weight.Data.Type.IsInt4() && options.Dora)
            throw UserException.NamingSettings($"{nameof(options.Dora):setting}: the norms of a weight are not known where it is stored in 4 bits; leave it out, or take the model of floats");
        if (linear.Weight.Data.Type.IsInt4() && linear.IsExpert)
            throw UserException.NamingSettings($"{nameof(options.Targets):setting}: {linear.Name} is an expert's weight in 4 bits, which gets no adapter; adapt other products, or take the model of floats");
        foreach (Parameter parameter in Parameters)
            parameter.IsFrozen = true;
        var adapter = new LoraAdapter(initializer, linear, options);
        linear.Adapter = adapter;
        adapters.Add(adapter);
        return adapter;
    }

    /// <summary>Replaces the weights by the adapted ones, removes the adapters and unfreezes every parameter.</summary>
    /// <exception cref="InvalidOperationException">The weights are quantised, so the result could not be stored exactly; <see cref="ModelQuantization.Widen"/> merges them.</exception>
    public void MergeAdapters()
    {
        if (KeepsAdapters && adapters.Count > 0)
            throw new InvalidOperationException($"adapters cannot be merged into weights of 4 bits; use {nameof(ModelQuantization)}.{nameof(ModelQuantization.Widen)}");
        foreach (LoraAdapter adapter in adapters)
        {
            adapter.Merge();
            foreach (Parameter parameter in adapter.Parameters)
                parameter.Release();
        }

        adapters.Clear();
        foreach (Parameter parameter in Parameters)
            parameter.IsFrozen = false;
    }

    /// <summary>The part of a name after its last dot.</summary>
    internal static string LastPart(string name) => name[(name.LastIndexOf('.') + 1)..];

    private static bool IsTarget(string name, string target) => target.Contains('*', StringComparison.Ordinal)
        ? System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(target, name, ignoreCase: false)
        : name == target || name.EndsWith("." + target, StringComparison.Ordinal);

    /// <summary>The device that holds the parameters.</summary>
    internal Device Device => Parameters[0].Device;

    /// <summary>Checks that the parameters are on a device.</summary>
    /// <exception cref="ArgumentException">They are on another device.</exception>
    internal void CheckDevice(Device device)
    {
        if (!ReferenceEquals(Device, device))
            throw new ArgumentException($"the model is on another device ({Device.Name}) than the one given ({device.Name})", nameof(device));
    }

    /// <summary>Returns the parameters' memory to the device's pool. Disposing twice is harmless; using the model afterwards throws <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        foreach (Parameter parameter in AllParameters)
            parameter.Release();
        GC.SuppressFinalize(this);
    }
}
