using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>Scaled dot-product attention with its projections: output(softmax(cap(scale · q kᵀ) + bias) v). <see cref="TransformerBlock"/> makes it.</summary>
public sealed class AttentionLayer : Layer
{
    private readonly AttentionDescription description;
    private readonly AttentionSettings settings;
    private readonly Linear[] inputs;
    private readonly Linear output;
    private readonly Norm? queryNorm, keyNorm;
    private readonly int index, rotation, bias, width, keyWidth;
    private readonly bool canPack;

    /// <summary>Makes the projections and norms.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">Heads, projections, norms, positions and windows.</param>
    /// <param name="hiddenSize">Columns of x and of the result.</param>
    /// <param name="index">The index of its block, also in a cache.</param>
    /// <param name="isCausal">A token sees only itself and earlier tokens.</param>
    /// <param name="tables">Tables that the layers of a stack share.</param>
    /// <exception cref="ArgumentException">The description contradicts itself.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A scalar of the description lies outside its range.</exception>
    internal AttentionLayer(Initializer initializer, AttentionDescription description, int hiddenSize, int index, bool isCausal, SharedTables tables)
    {
        (this.description, this.index) = (description, index);
        (width, keyWidth) = (description.Heads * description.HeadSize, description.KeyHeads * description.HeadSize);
        bool hasNorms = description.QueryNorm is not null || description.KeyNorm is not null;
        if (description.Inputs is not ([_] or [_, _, _]) || (hasNorms && description.Inputs.Count == 1))
            throw new ArgumentException($"attention with {description.Output.Name}: three projections, or one without norms of queries and keys, not {description.Inputs.Count}", nameof(description));
        inputs = description.Inputs is [var packed]
            ? [Add(new Linear(initializer, packed, hiddenSize, width + 2 * keyWidth))]
            : [Input(0, width), Input(1, keyWidth), Input(2, keyWidth)];
        canPack = inputs.Length == 1 || (!hasNorms && Array.TrueForAll(inputs, input => input.IsTransposed && input.Bias is null == inputs[0].Bias is null));
        queryNorm = AddNorm(description.QueryNorm, description.Heads);
        keyNorm = AddNorm(description.KeyNorm, description.KeyHeads);
        output = Add(new Linear(initializer, description.Output, width, hiddenSize));
        bias = tables.Add(initializer, description.RelativeBias, description.Heads, out RelativeBias? made);
        if (made is not null)
            Add(made);
        rotation = tables.Add(description.Rotary);
        settings = new AttentionSettings
        {
            Heads = description.Heads,
            KeyHeads = description.KeyHeads,
            HeadSize = description.HeadSize,
            Scale = description.Scale,
            Causal = isCausal,
            KeysBefore = description.KeysBefore,
            KeysAfter = isCausal ? null : description.KeysAfter,
            SoftCap = description.SoftCap ?? 0,
            Dropout = description.Dropout,
            RotatedSize = description.Rotary?.Size ?? 0,
            Order = description.Order,
            RotatesInPlace = true,
        };
        settings.Check();

        Linear Input(int index, int columns) => Add(new Linear(initializer, description.Inputs[index], hiddenSize, columns));
        Norm? AddNorm(NormDescription? norm, int heads) => norm is null ? null : Add(new Norm(initializer, norm, description.NormsHeads ? description.HeadSize : heads * description.HeadSize));
    }

    /// <summary>The size of a token's keys, and of its values.</summary>
    internal int KeyWidth => keyWidth;

    private bool IsByHeads => inputs.Length == 1 && description.Order == PackedOrder.Heads;

    /// <summary>Self-attention, plus a residual where there is one.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">(sequences · length) × hidden size.</param>
    /// <param name="residual">As x, added to the result after dropout; or null.</param>
    /// <param name="dropout">The probability of dropout of the result before it is added.</param>
    /// <returns>As x.</returns>
    public Tensor Forward(ForwardContext context, Tensor x, Tensor? residual = null, float dropout = 0)
    {
        Tape tape = context.Tape;
        if (canPack && (inputs.Length == 1 || Array.TrueForAll(inputs, static input => input.HasOneWeight)))
        {
            Tensor packed = inputs is [var single] ? single.Forward(tape, x) : Packed(tape, x);
            return Output(tape, context.Cache is { } cache ? Decode(context, cache, packed) : tape.SelfAttention(packed, context.Sequences, SettingsFor(context)), residual, dropout);
        }

        Tensor query = Norm.Normalized(tape, queryNorm, inputs[0].Forward(tape, x)), key = Norm.Normalized(tape, keyNorm, inputs[1].Forward(tape, x)), value = inputs[2].Forward(tape, x);
        return Output(tape, context.Cache is { } kept ? Decode(context, kept, query, key, value) : tape.Attention(query, key, value, context.Sequences, SettingsFor(context)), residual, dropout);
    }

    /// <summary>Queries, keys and values side by side.</summary>
    private Tensor Packed(Tape tape, Tensor x)
    {
        (Linear query, Linear key, Linear value) = (inputs[0], inputs[1], inputs[2]);
        return tape.LinearPacked(x, [query.WeightFor(tape), key.WeightFor(tape), value.WeightFor(tape)], query.Bias is null ? [] : [query.Bias, key.Bias!, value.Bias!]);
    }

    /// <summary>Attention to an encoder's states, plus a residual where there is one; arguments as for <see cref="Forward"/>.</summary>
    /// <exception cref="InvalidOperationException">The pass has no encoder's states.</exception>
    public Tensor ForwardAcross(ForwardContext context, Tensor x, Tensor? residual = null, float dropout = 0)
    {
        Tape tape = context.Tape;
        EncodedStates encoded = context.Encoded ?? throw new InvalidOperationException("cross-attention needs an encoder's states");
        Tensor query = Norm.Normalized(tape, queryNorm, inputs[0].Forward(tape, x));
        if (encoded.Kept is { } kept)
            return Output(tape, AttendToKept(context, encoded, kept, query), residual, dropout);
        (Tensor key, Tensor value) = KeysAndValues(tape, encoded.States!);
        return Output(tape, tape.Attention(query, key, value, context.Sequences, settings with { KeyBias = encoded.KeyBias }), residual, dropout);
    }

    /// <summary>Keeps the keys and values of an encoder's states for cross-attention.</summary>
    internal void Keep(Tape tape, Tensor states, CacheWindow window)
    {
        (Tensor key, Tensor value) = KeysAndValues(tape, states);
        (key, value) = (tape.Wide(key), tape.Wide(value));
        window.Append(index, 0, key.Data, keyWidth, keyWidth);
        window.Append(index, keyWidth, value.Data, keyWidth, keyWidth);
    }

    private (Tensor Key, Tensor Value) KeysAndValues(Tape tape, Tensor x) => (Norm.Normalized(tape, keyNorm, inputs[1].Forward(tape, x)), inputs[2].Forward(tape, x));

    private AttentionSettings SettingsFor(ForwardContext context) => settings with
    {
        KeyBias = context.KeyBias,
        Ranges = context.Ranges,
        Angles = AnglesOf(context),
        DistanceBias = DistanceBiasOf(context),
    };

    private Block? AnglesOf(ForwardContext context) => rotation < 0 ? null : context.Angles(rotation);

    private Tensor? DistanceBiasOf(ForwardContext context) => bias < 0 ? null : context.DistanceBias(bias);

    private Tensor Output(Tape tape, Tensor mixed, Tensor? residual, float dropout) =>
        residual is null ? output.Forward(tape, mixed) : output.Forward(tape, mixed, residual, dropout);

    /// <summary>Appends the keys and values of new tokens to the cache; the new tokens attend to all tokens of their sequences so far.</summary>
    private Tensor Decode(ForwardContext context, CacheWindow cache, Tensor packed)
    {
        packed = context.Tape.Wide(packed);
        int size = description.HeadSize, stride = packed.Columns;
        if (AnglesOf(context) is { } angles)
            Rotate(packed, angles, IsByHeads ? description.Heads : description.Heads + description.KeyHeads, IsByHeads ? 3 * size : size, IsByHeads);
        if (IsByHeads)
            cache.AppendHeads(index, packed.Data.Slice(size, packed.Length - size), description.Heads, 3 * size, 2 * size);
        else
            cache.Append(index, 0, packed.Data.Slice(width, packed.Length - width), stride, 2 * keyWidth);
        return Attend(context, context.KeyBias, packed, cache.Keys(index), cache.KeyLength, cache.Capacity);
    }

    private Tensor Decode(ForwardContext context, CacheWindow cache, Tensor query, Tensor key, Tensor value)
    {
        (query, key, value) = (context.Tape.Wide(query), context.Tape.Wide(key), context.Tape.Wide(value));
        if (AnglesOf(context) is { } angles)
        {
            Rotate(query, angles, description.Heads, description.HeadSize, alternates: false);
            Rotate(key, angles, description.KeyHeads, description.HeadSize, alternates: false);
        }

        cache.Append(index, 0, key.Data, keyWidth, keyWidth);
        cache.Append(index, keyWidth, value.Data, keyWidth, keyWidth);
        return Attend(context, context.KeyBias, query, cache.Keys(index), cache.KeyLength, cache.Capacity);
    }

    private Tensor AttendToKept(ForwardContext context, EncodedStates encoded, KeyValueCache kept, Tensor query) =>
        Attend(context, encoded.KeyBias, context.Tape.Wide(query), kept.From(index, Math.Max(0, encoded.Sequence), 0), encoded.Length, kept.Capacity);

    /// <summary>Attention of new tokens to a cache's rows, which hold keys, then values, or both head by head.</summary>
    private Tensor Attend(ForwardContext context, Block? keyBias, Tensor query, Block keys, int keyLength, int capacity)
    {
        int size = description.HeadSize, values = IsByHeads ? size : keyWidth;
        Tensor mixed = context.Tape.Output([query.Rows, width]);
        context.Tape.Device.AttentionForward(new AttentionArguments(query.Data, keys, keys.Slice(values, keys.Length - values), mixed.Data)
        {
            Batch = context.Sequences,
            Heads = description.Heads,
            KeyHeads = description.KeyHeads,
            HeadSize = size,
            QueryLength = context.Length,
            KeyLength = keyLength,
            KeyCapacity = capacity,
            QueryStride = query.Columns,
            KeyStride = 2 * keyWidth,
            OutputStride = width,
            QueryHeadStride = IsByHeads ? 3 * size : size,
            KeyHeadStride = IsByHeads ? 2 * size : size,
            Causal = settings.Causal,
            KeysBefore = settings.KeysBefore,
            KeysAfter = settings.KeysAfter,
            Scale = description.Scale,
            SoftCap = settings.SoftCap,
            KeyBias = keyBias,
            DistanceBias = DistanceBiasOf(context)?.Data,
        });
        return mixed;
    }

    /// <summary>Rotates heads in place; with <paramref name="alternates"/>, also the head after each one: keys follow queries.</summary>
    private void Rotate(Tensor x, Block angles, int heads, int headStride, bool alternates)
    {
        var rotation = new RotationArguments(x.Data, angles) { Rows = x.Rows, Heads = heads, HeadSize = description.HeadSize, RotatedSize = settings.RotatedSize, Stride = x.Columns, HeadStride = headStride };
        x.Device.Rotate(rotation);
        if (alternates)
            x.Device.Rotate(rotation with { Target = x.Data.Slice(description.HeadSize, x.Length - description.HeadSize) });
    }
}
