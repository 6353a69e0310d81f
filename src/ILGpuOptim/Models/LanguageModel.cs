using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Models;

/// <summary>A transformer over token ids.</summary>
public abstract class LanguageModel : Layer, IDisposable
{
    private readonly List<LoraAdapter> adapters = [];

    /// <summary>Sizes and names, as in <c>config.json</c>.</summary>
    public abstract ModelConfig Config { get; }

    /// <summary>The matrix that turns hidden states into logits: vocabulary × columns.</summary>
    public abstract Parameter Head { get; }

    /// <summary>Added to the logits, or null.</summary>
    public virtual Parameter? HeadBias => null;

    /// <summary>Whether the model is causal: each position predicts the next token. A masked language model predicts the masked tokens instead.</summary>
    public virtual bool IsCausal => true;

    /// <summary>Whether activations within a block are computed again in the backward pass instead of being kept.</summary>
    public bool Recomputes { get; set; }

    /// <summary>Whether an encoder reads one sequence and a decoder writes another: batches then have <see cref="TokenBatch.DecoderTokens"/>.</summary>
    public virtual bool HasEncoder => false;

    /// <summary>Whether the model can write text: a causal <see cref="Transformer"/>, which keeps keys and values.</summary>
    public virtual bool WritesText => false;

    /// <summary>The first token of a decoder's input beside an encoder.</summary>
    internal virtual int StartToken => 0;

    /// <summary>The decoder's input that predicts targets, beside an encoder; empty for models of one stack.</summary>
    internal virtual int[] DecoderTokensFor(ReadOnlySpan<int> targets, int sequences) => [];

    /// <summary>The tensors of <see cref="ModelConfig.OtherHeads"/> in the file that the weights were loaded from.</summary>
    public IReadOnlyList<string> UnusedTensors { get; internal set; } = [];

    /// <summary>The <c>generation_config.json</c> beside the weights that were loaded, kept as it is; or null.</summary>
    internal byte[]? GenerationConfig { get; set; }

    /// <summary>What is learnt beside frozen weights.</summary>
    public IReadOnlyList<LoraAdapter> Adapters => adapters;

    /// <summary>The model's parameters and those of its adapters.</summary>
    public IReadOnlyList<Parameter> AllParameters => [.. Parameters, .. adapters.SelectMany(adapter => adapter.Parameters)];

    /// <summary>The products that can be adapted: all but a head of its own, which is read as one matrix.</summary>
    internal IEnumerable<Linear> Adaptable => Linears.Where(linear => linear.Weight != Head);

    /// <summary>The number of the model's numbers, without adapters.</summary>
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

    /// <summary>The states that <see cref="Head"/> multiplies: those of the last layer, through the head's own layers where it has any.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="batch">The tokens, and what else the model reads.</param>
    /// <returns>(sequences · length) × hidden size. Rows are the decoder's where there is an encoder.</returns>
    /// <exception cref="ArgumentException">The batch's parts do not fit together, or are longer than the model's positions.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An id lies outside its table.</exception>
    public abstract Tensor Hidden(Tape tape, in TokenBatch batch);

    /// <summary>As the other, for plain sequences.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="tokens">batch · length ids, sequence by sequence.</param>
    /// <param name="batch">How many sequences.</param>
    public Tensor Hidden(Tape tape, ReadOnlySpan<int> tokens, int batch) => Hidden(tape, new TokenBatch(tokens, batch));

    /// <summary>
    /// The mean cross-entropy, in nats a token, of targets (negative ones are ignored), with the routers' load-balancing loss where the
    /// configuration adds it, times <paramref name="scale"/>.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="batch">The tokens, and what else the model reads.</param>
    /// <param name="targets">What each position should predict, one id for each row of <see cref="Hidden(Tape, in TokenBatch)"/>.</param>
    /// <param name="scale">1 / the number of batches whose gradients are added up.</param>
    /// <returns>A scalar.</returns>
    public Tensor Loss(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, float scale = 1) => Losses(tape, batch, targets, scale).Total;

    /// <summary>As the other, for plain sequences.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="tokens">batch · length ids.</param>
    /// <param name="targets">As many ids: what each position should predict.</param>
    /// <param name="batch">How many sequences.</param>
    /// <param name="scale">1 / the number of batches whose gradients are added up.</param>
    public Tensor Loss(Tape tape, ReadOnlySpan<int> tokens, ReadOnlySpan<int> targets, int batch, float scale = 1) =>
        Loss(tape, new TokenBatch(tokens, batch), targets, scale);

    /// <summary>As <see cref="Loss(Tape, in TokenBatch, ReadOnlySpan{int}, float)"/>, with the parts of the loss.</summary>
    public abstract LossParts Losses(Tape tape, in TokenBatch batch, ReadOnlySpan<int> targets, float scale = 1);

    /// <summary>Logits of every position, rows × vocabulary. For checks and sampling; training never holds them.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="batch">The tokens, and what else the model reads.</param>
    public abstract Tensor Logits(Tape tape, in TokenBatch batch);

    /// <summary>Logits of some positions, as many rows as <paramref name="rows"/> has × vocabulary.</summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="batch">The tokens, and what else the model reads.</param>
    /// <param name="rows">Numbers of positions, counted through all sequences.</param>
    public abstract Tensor LogitsOf(Tape tape, in TokenBatch batch, ReadOnlySpan<int> rows);

    /// <summary>Logits of every position of plain sequences, (batch · length) × vocabulary.</summary>
    public Tensor Logits(Tape tape, ReadOnlySpan<int> tokens, int batch) => Logits(tape, new TokenBatch(tokens, batch));

    /// <summary>
    /// What each position should predict, given labels as Hugging Face takes them: causal models of one stack shift them by one
    /// (the last position of a sequence predicts nothing), and negative ones are ignored.
    /// </summary>
    /// <param name="labels">batch · length ids.</param>
    /// <param name="batch">How many sequences.</param>
    /// <returns>As many targets.</returns>
    /// <exception cref="ArgumentException">The labels are not so many sequences of one length.</exception>
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

    /// <summary>Freezes every parameter and puts adapters beside some products; a rank above the short side of all of them is cut to that.</summary>
    /// <exception cref="UserException">A target names no product.</exception>
    public void AddAdapters(LoraOptions options, Initializer initializer)
    {
        Ranges.Check(options);
        var adapted = new List<Linear>();
        foreach (string target in options.Targets.Count > 0 ? options.Targets : Config.LoraTargets)
        {
            Linear[] found = [.. Adaptable.Where(linear => IsTarget(linear.Name, target))];
            if (found.Length == 0)
                throw UserException.NamingSettings($"{nameof(options.Targets):setting} {target}: the model has no such product; there are {string.Join(", ", Adaptable.Select(linear => LastPart(linear.Name)).Distinct())}");
            adapted.AddRange(found.Where(linear => linear.Adapter is null && !adapted.Contains(linear)));
        }

        int rank = Math.Min(options.Rank, adapted.Select(linear => Math.Min(linear.Inputs, linear.Outputs)).DefaultIfEmpty(options.Rank).Max());
        foreach (Linear linear in adapted)
            AddAdapter(linear, rank, options.Alpha, initializer);
    }

    /// <summary>Freezes every parameter and puts an adapter beside one product.</summary>
    internal LoraAdapter AddAdapter(Linear linear, int rank, double alpha, Initializer initializer)
    {
        foreach (Parameter parameter in Parameters)
            parameter.IsFrozen = true;
        var adapter = new LoraAdapter(initializer, linear, rank, alpha);
        linear.Adapter = adapter;
        adapters.Add(adapter);
        return adapter;
    }

    /// <summary>Adds what the adapters learnt to the weights; there are none afterwards, and nothing is frozen.</summary>
    public void MergeAdapters()
    {
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

    /// <summary>The device of the parameters.</summary>
    internal Device Device => Parameters[0].Device;

    /// <summary>Fails unless the parameters are on a device.</summary>
    /// <exception cref="ArgumentException">They are on another.</exception>
    internal void CheckDevice(Device device)
    {
        if (!ReferenceEquals(Device, device))
            throw new ArgumentException($"the model is on another device ({Device.Name}) than the one given ({device.Name})", nameof(device));
    }

    /// <summary>Gives the parameters' memory back to the device's pool. Disposing twice is harmless; using the model afterwards is an <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        foreach (Parameter parameter in AllParameters)
            parameter.Release();
        GC.SuppressFinalize(this);
    }
}
