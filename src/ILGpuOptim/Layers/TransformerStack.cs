using System.Buffers;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>The blocks of a transformer, one after the other, and the norm after the last one.</summary>
public sealed class TransformerStack : Layer
{
    private readonly TransformerBlock[] blocks;
    private readonly Norm? norm;
    private readonly float dropout;
    private readonly SharedTables tables = new();

    /// <summary>Makes the blocks, first to last.</summary>
    /// <param name="initializer">Allocates and fills the parameters.</param>
    /// <param name="description">The model's description, or that of its encoder.</param>
    /// <exception cref="ArgumentException">A block's description contradicts itself, or there is a router loss and blocks differ in their number of experts.</exception>
    public TransformerStack(Initializer initializer, TransformerDescription description)
    {
        CheckRouters(description);
        blocks = new TransformerBlock[description.Blocks.Count];
        for (int i = 0; i < blocks.Length; i++)
            blocks[i] = Add(new TransformerBlock(initializer, description.Blocks[i], description.HiddenSize, i, description.IsCausal, tables));

        norm = description.FinalNorm is { } final ? Add(new Norm(initializer, final, description.HiddenSize)) : null;
        dropout = description.FinalDropout;
    }

    /// <summary>One router loss counts the choices of all blocks together.</summary>
    private static void CheckRouters(TransformerDescription description)
    {
        int[] experts = [.. description.Blocks.Select(block => block.FeedForward.Experts?.Count ?? 0).Where(count => count > 0).Distinct()];
        if (description.RouterLossCoefficient != 0 && experts.Length > 1)
            throw new ArgumentException($"a router loss needs as many experts in every block that has any, not {string.Join(" and ", experts)}; set {nameof(description.RouterLossCoefficient)} to 0 to train without it", nameof(description));
    }

    /// <summary>The size of a token's keys in each block.</summary>
    internal IReadOnlyList<int> KeyWidths => [.. blocks.Select(block => block.Attention.KeyWidth)];

    /// <summary>The size of a token's keys in each block's cross-attention; empty where there is none.</summary>
    internal IReadOnlyList<int> CrossKeyWidths => [.. blocks.Where(block => block.CrossAttention is not null).Select(block => block.CrossAttention!.KeyWidth)];

    /// <summary>Tables that its layers share.</summary>
    internal SharedTables Tables => tables;

    /// <summary>Applies all blocks to the residual stream.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">(sequences · length) × hidden size.</param>
    /// <returns>As x, before the final norm.</returns>
    public Tensor Forward(ForwardContext context, Tensor x)
    {
        for (int i = 0; i < tables.Biases; i++)
            context.SetDistanceBias(i, tables.Bias(i).Forward(context.Tape, context.Length, context.KeyLength));
        Tape tape = context.Tape;
        for (int i = 0; i < blocks.Length; i++)
        {
            TransformerBlock block = blocks[i];
            Tensor before = x;
            if (context.Recomputes)
            {
                x = tape.Recompute(before, y => block.Forward(context, y));
                continue;
            }

            // Without recording, only a block's result outlives it, and only until the next block is done.
            using (TapeScope scope = tape.Scope())
                x = scope.Keep(block.Forward(context, before));
            if (i > 0 && !tape.IsRecording)
                tape.Release(before.Data);
        }

        return x;
    }

    /// <summary>
    /// Uploads the angles of a pass's positions for all kinds of rotary positions. Where the pass reads one token of each sequence, each has
    /// the frequencies of its own length.
    /// </summary>
    /// <param name="context">The pass.</param>
    /// <param name="positions">One for each row of the pass.</param>
    internal void Rotate(ForwardContext context, ReadOnlySpan<int> positions)
    {
        for (int i = 0; i < tables.Rotations; i++)
        {
            RotaryAngles rotation = tables.Rotation(i);
            context.SetAngles(i, context.Cache is { IsAll: true } ? Each(context.Tape, rotation, positions) : rotation.Rows(context.Tape, positions));
        }
    }

    /// <summary>True if the rotated keys of a sequence stay valid when it grows from one length to another.</summary>
    internal bool KeepsKeys(int before, int after)
    {
        for (int i = 0; i < tables.Rotations; i++)
        {
            if (tables.Rotation(i).VariantOf(before) != tables.Rotation(i).VariantOf(after))
                return false;
        }

        return true;
    }

    private static Block Each(Tape tape, RotaryAngles rotation, ReadOnlySpan<int> positions)
    {
        int size = rotation.Size;
        float[] rows = ArrayPool<float>.Shared.Rent(positions.Length * size);
        for (int i = 0; i < positions.Length; i++)
            rotation.Write(positions.Slice(i, 1), rows.AsSpan(i * size, size));
        Block result = tape.Values(rows.AsSpan(0, positions.Length * size));
        ArrayPool<float>.Shared.Return(rows);
        return result;
    }

    /// <summary>Keeps the keys and values of an encoder's states for every block's cross-attention.</summary>
    internal void Keep(Tape tape, Tensor states, CacheWindow window)
    {
        foreach (TransformerBlock block in blocks)
            block.CrossAttention?.Keep(tape, states, window);
    }

    /// <summary>The final norm and its dropout.</summary>
    public Tensor Finish(Tape tape, Tensor x) => tape.Dropout(norm is null ? x : norm.Forward(tape, x), dropout);
}
