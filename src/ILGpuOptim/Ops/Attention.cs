using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Scaled dot-product attention (Vaswani et al., 2017).</summary>
public static class AttentionOp
{
    /// <summary>The operation's name in messages.</summary>
    internal const string Name = "attention";

    /// <summary>Self-attention over packed projections: each row holds the queries, keys and values of one token.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="packed">
    /// (batch · length) × (heads + 2 · key heads) · size, in <see cref="AttentionSettings.Order"/>. With angles, a rotated copy of it is kept for the
    /// backward pass.
    /// </param>
    /// <param name="batch">Independent sequences.</param>
    /// <param name="settings">Heads, masks, biases and rotation.</param>
    /// <returns>(batch · length) × heads · size.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit each other.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A setting lies outside its range.</exception>
    public static Tensor SelfAttention(this Tape tape, Tensor packed, int batch, AttentionSettings settings)
    {
        (int heads, int keyHeads) = Heads(settings);
        (packed, settings) = (tape.As(packed, tape.ActivationType), Wide(tape, settings));
        int length = Length("packed", packed, batch), size = settings.HeadSize == 0 ? packed.Columns / (heads + 2 * keyHeads) : settings.HeadSize, width = heads * size, keyWidth = keyHeads * size;
        if (packed.Columns != (heads + 2L * keyHeads) * size)
            throw new ArgumentException($"attention: packed is {packed}; {heads} query heads, {keyHeads} key heads and as many value heads of one size{(settings.HeadSize == 0 ? "" : $", {size},")} do not fill its {packed.Columns} columns", nameof(packed));
        bool byHeads = settings.Order == PackedOrder.Heads;
        if (byHeads && keyHeads != heads)
            throw new ArgumentException($"attention: packed head by head, there must be as many key heads as query heads, not {keyHeads} of {heads}", nameof(settings));
        Tensor output = tape.Activation([packed.Rows, width], packed, settings.DistanceBias);
        var layout = new Layout(byHeads ? size : width, byHeads ? 2 * size : width + keyWidth, byHeads ? 3 * size : size);
        Block data = packed.Data;
        Block? copy = null;
        RotationArguments? rotation = null;
        if (settings.Angles is { } angles)
        {
            CheckAngles(packed, angles, size, settings.RotatedSize);
            if (!settings.RotatesInPlace)
            {
                copy = data = tape.Scratch(packed.Length, tape.ActivationType);
                tape.Device.Copy(packed.Data, data);
            }

            rotation = new RotationArguments(data, angles)
            {
                Rows = packed.Rows,
                Heads = byHeads ? heads : heads + keyHeads,
                HeadSize = size,
                RotatedSize = settings.RotatedSize,
                HeadStride = layout.HeadStride,
                Stride = packed.Columns,
            };
            Rotate(tape.Device, rotation.Value, byHeads);
        }

        AttentionArguments arguments = Arguments(tape, settings, new(data, From(data, layout.Key), From(data, layout.Value), output.Data)
        {
            Batch = batch,
            Heads = heads,
            KeyHeads = keyHeads,
            HeadSize = size,
            QueryLength = length,
            KeyLength = length,
            QueryStride = packed.Columns,
            KeyStride = packed.Columns,
            OutputStride = width,
            QueryHeadStride = layout.HeadStride,
            KeyHeadStride = layout.HeadStride,
            Scale = settings.Scale ?? 1 / MathF.Sqrt(size),
        }, output);
        tape.Device.AttentionForward(arguments);
        if (copy is { } unneeded && !output.RequiresGradient)
            tape.Release(unneeded);
        tape.Record(new PackedGradient(output, packed, settings.DistanceBias, arguments, layout, rotation, copy));
        return output;
    }

    /// <summary>Attention over separate queries, keys and values; keys and values may belong to other sequences (cross-attention).</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="query">(batch · query length) × heads · size.</param>
    /// <param name="key">(batch · key length) × key heads · size.</param>
    /// <param name="value">As <paramref name="key"/>.</param>
    /// <param name="batch">Independent sequences.</param>
    /// <param name="settings">Heads, masks, biases and rotation. With angles, queries and keys must have the same number of rows.</param>
    /// <returns>(batch · query length) × heads · size.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit each other.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A setting lies outside its range.</exception>
    public static Tensor Attention(this Tape tape, Tensor query, Tensor key, Tensor value, int batch, AttentionSettings settings)
    {
        (int heads, int keyHeads) = Heads(settings);
        DType type = tape.ActivationType;
        (query, key, value, settings) = (tape.As(query, type), tape.As(key, type), tape.As(value, type), Wide(tape, settings));
        int length = Length("query", query, batch), keyLength = Length("key", key, batch), size = settings.HeadSize == 0 ? query.Columns / heads : settings.HeadSize;
        if (query.Columns != (long)heads * size)
            throw new ArgumentException($"attention: query is {query}; {heads} heads{(settings.HeadSize == 0 ? "" : $" of {size}")} do not fill its {query.Columns} columns", nameof(query));
        if (key.Columns != (long)keyHeads * size)
            throw new ArgumentException($"attention: key is {key}; it needs {(long)keyHeads * size} columns, {keyHeads} key heads of {size}", nameof(key));
        if (value.Columns != key.Columns || value.Rows != key.Rows)
            throw new ArgumentException($"attention: value is {value} and key {key}; they must have one shape", nameof(value));
        if (settings.Angles is { } angles)
        {
            if (query.Rows != key.Rows)
                throw new ArgumentException($"attention: query is {query} and key {key}, so one table of angles cannot rotate both; rotate them with Rotate first", nameof(settings));
            query = tape.Rotate(query, heads, angles, settings.RotatedSize);
            key = tape.Rotate(key, keyHeads, angles, settings.RotatedSize);
        }

        Tensor output = tape.Activation([query.Rows, heads * size], query, key, value, settings.DistanceBias);
        AttentionArguments arguments = Arguments(tape, settings, new(query.Data, key.Data, value.Data, output.Data)
        {
            Batch = batch,
            Heads = heads,
            KeyHeads = keyHeads,
            HeadSize = size,
            QueryLength = length,
            KeyLength = keyLength,
            QueryStride = query.Columns,
            KeyStride = key.Columns,
            OutputStride = query.Columns,
            Scale = settings.Scale ?? 1 / MathF.Sqrt(size),
        }, output);
        tape.Device.AttentionForward(arguments);
        tape.Record(new Gradient(output, query, key, value, settings.DistanceBias, arguments));
        return output;
    }

    /// <summary>Rotates the heads of each row by the angles of its row: rotary position embedding (RoPE; Su et al., 2021).</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Rows × heads · size.</param>
    /// <param name="heads">Heads of a row.</param>
    /// <param name="angles">Rows × rotated size: cosines, then sines, as <see cref="RotationArguments"/> has them.</param>
    /// <param name="rotatedSize">The number of leading elements of a head that are rotated; 0: all.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit each other.</exception>
    public static Tensor Rotate(this Tape tape, Tensor x, int heads, Block angles, int rotatedSize = 0)
    {
        Shapes.NotNull("rotation", x);
        if (heads < 1 || x.Columns % heads != 0)
            throw new ArgumentException($"rotation: x is {x}; {heads} heads do not divide its {x.Columns} columns", nameof(heads));
        CheckAngles(x, angles, x.Columns / heads, rotatedSize);
        x = tape.Floats(x);
        Tensor output = tape.Activation(x, x.Columns, x);
        tape.Device.Copy(x.Data, output.Data);
        var rotation = new RotationArguments(output.Data, angles) { Rows = x.Rows, Heads = heads, HeadSize = x.Columns / heads, RotatedSize = rotatedSize, Stride = x.Columns };
        tape.Device.Rotate(rotation);
        tape.Record(new RotationGradient(output, x, rotation));
        return output;
    }

    private static (int Heads, int KeyHeads) Heads(AttentionSettings settings)
    {
        Shapes.NotNull(Name, settings);
        settings.Check();
        int keyHeads = settings.KeyHeads == 0 ? settings.Heads : settings.KeyHeads;
        return settings.Heads < 1 || keyHeads < 1 || settings.Heads % keyHeads != 0
            ? throw new ArgumentException($"attention: {keyHeads} key heads do not divide {settings.Heads} query heads", nameof(settings))
            : (settings.Heads, keyHeads);
    }

    private static AttentionSettings Wide(Tape tape, AttentionSettings settings) =>
        settings.DistanceBias is { } bias ? settings with { DistanceBias = tape.Wide(bias) } : settings;

    private static int Length(string name, Tensor x, int batch) => batch < 0 || (batch == 0 ? x.Rows != 0 : x.Rows % batch != 0)
        ? throw new ArgumentException($"attention: {name} is {x}; its {x.Rows} rows are not {batch} sequences of one length")
        : batch == 0 ? 0 : x.Rows / batch;

    private static void CheckAngles(Tensor x, in Block angles, int size, int rotatedSize)
    {
        int rotated = rotatedSize == 0 ? size : rotatedSize;
        if (rotated < 0 || rotated > size || rotated % 2 != 0)
            throw new ArgumentException($"rotation: an even number of a head's {size} elements can be rotated, not {rotated}", nameof(rotatedSize));
        if (angles.Length != (long)x.Rows * rotated)
            throw new ArgumentException($"rotation: there are {angles.Length} angles; the {x.Rows} rows of {x} need {rotated} each", nameof(angles));
    }

    /// <summary>Completes the arguments with the settings and the tape's random stream.</summary>
    private static AttentionArguments Arguments(Tape tape, AttentionSettings settings, in AttentionArguments shape, Tensor output)
    {
        if (settings.DistanceBias is { } bias && (bias.Columns != shape.Heads || bias.Length != shape.Distances * shape.Heads))
            throw new ArgumentException($"attention: the distance bias is {bias}; {shape.QueryLength} queries and {shape.KeyLength} keys of {shape.Heads} heads need {shape.Distances}×{shape.Heads}", nameof(settings));
        bool drops = tape.IsTraining && settings.Dropout > 0;
        return shape with
        {
            Causal = settings.Causal,
            KeysBefore = settings.KeysBefore,
            KeysAfter = settings.KeysAfter,
            SoftCap = settings.SoftCap,
            Ranges = settings.Ranges,
            KeyBias = settings.KeyBias,
            DistanceBias = settings.DistanceBias?.Data,
            Precision = tape.Precision,
            Dropout = tape.IsTraining ? settings.Dropout : 0,
            Seed = tape.Seed,
            Stream = drops ? tape.RandomStream++ : 0,
            LogSumExp = output.RequiresGradient ? tape.Scratch((long)shape.Batch * shape.Heads * shape.QueryLength) : null,
        };
    }

    private static Block From(in Block packed, int start) => packed.Slice(Math.Min(start, packed.Length), Math.Max(0, packed.Length - start));

    /// <summary>Rotates queries and keys: in two launches where they alternate head by head, else in one.</summary>
    private static void Rotate(Device device, in RotationArguments rotation, bool byHeads)
    {
        device.Rotate(rotation);
        if (byHeads)
            device.Rotate(rotation with { Target = From(rotation.Target, rotation.HeadSize) });
    }

    /// <summary>The offsets of keys and values in a packed row, and the stride between heads.</summary>
    private readonly record struct Layout(int Key, int Value, int HeadStride);

    /// <summary>Memory for an input's gradient, which the device overwrites; <see cref="Finish"/> adds it to an earlier gradient.</summary>
    private readonly struct Received
    {
        private readonly Operand target;

        public Received(Tape tape, Tensor input)
        {
            target = tape.GradientTarget(input);
            Written = target.Accumulate ? tape.Scratch(input.Length, target.Block.Type) : target.Block;
        }

        public Block Written { get; }

        public void Finish(Tape tape)
        {
            if (!target.Accumulate)
                return;
            tape.Device.Map(new AddRule(), 1, Written.Length, target.Block, Written);
            tape.Release(Written);
        }
    }

    private static void Differentiate(Tape tape, in AttentionArguments arguments, AttentionGradients gradients, Tensor? distanceBias)
    {
        Received? distances = distanceBias is { RequiresGradient: true } ? new Received(tape, distanceBias) : null;
        tape.Device.AttentionBackward(arguments, gradients with { DistanceBias = distances?.Written });
        distances?.Finish(tape);
        tape.Release(arguments.LogSumExp!.Value);
    }

    private sealed class PackedGradient(Tensor output, Tensor packed, Tensor? distanceBias, AttentionArguments arguments, Layout layout, RotationArguments? rotation, Block? copy) : Operation(output, packed, distanceBias)
    {
        public override void Backward(Tape tape)
        {
            var received = new Received(tape, packed);
            Block written = received.Written;
            Differentiate(tape, arguments, new AttentionGradients(Output.Gradient!.Value, written, From(written, layout.Key), From(written, layout.Value)), distanceBias);
            if (copy is { } rotated)
                tape.Release(rotated);
            if (rotation is { } forward)
                Rotate(tape.Device, forward with { Target = written, Inverse = true }, layout.HeadStride != forward.HeadSize);
            received.Finish(tape);
        }
    }

    private sealed class Gradient(Tensor output, Tensor query, Tensor key, Tensor value, Tensor? distanceBias, AttentionArguments arguments) : Operation(output, query, key, value, distanceBias)
    {
        public override void Backward(Tape tape)
        {
            Received ofQuery = new(tape, query), ofKey = new(tape, key), ofValue = new(tape, value);
            Differentiate(tape, arguments, new AttentionGradients(Output.Gradient!.Value, ofQuery.Written, ofKey.Written, ofValue.Written), distanceBias);
            ofQuery.Finish(tape);
            ofKey.Finish(tape);
            ofValue.Finish(tape);
        }
    }

    private sealed class RotationGradient(Tensor output, Tensor x, RotationArguments rotation) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            tape.Device.Rotate(rotation with { Target = Output.Gradient!.Value, Inverse = true });
            tape.PassGradient(Output, x);
        }
    }
}
