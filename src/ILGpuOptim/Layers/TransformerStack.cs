using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>The blocks of a transformer, one after the other, and the norm after the last one.</summary>
public sealed class TransformerStack : Layer
{
    private readonly TransformerBlock[] blocks;
    private readonly Norm? norm;
    private readonly float dropout;

    /// <summary>Makes the blocks, first to last.</summary>
    /// <param name="initializer">Where and how.</param>
    /// <param name="description">The model's description, or that of its encoder.</param>
    /// <param name="rotations">The kinds of rotary positions of the model; those of this stack are added.</param>
    internal TransformerStack(Initializer initializer, TransformerDescription description, RotaryKinds rotations)
    {
        blocks = new TransformerBlock[description.Blocks.Count];
        for (int i = 0; i < blocks.Length; i++)
        {
            BlockDescription block = description.Blocks[i];
            blocks[i] = Add(new TransformerBlock(initializer, block, description.HiddenSize, i, rotations.Add(block.Attention.Rotary), description.IsCausal));
        }

        norm = description.FinalNorm is { } final ? Add(new Norm(initializer, final, description.HiddenSize)) : null;
        dropout = description.FinalDropout;
    }

    /// <summary>Numbers of a token's keys in each block.</summary>
    internal IReadOnlyList<int> KeyWidths => [.. blocks.Select(block => block.Attention.KeyWidth)];

    /// <summary>Takes the residual stream through all blocks.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">(sequences · length) × hidden size.</param>
    /// <returns>As x, before the final norm.</returns>
    public Tensor Forward(ForwardContext context, Tensor x)
    {
        foreach (TransformerBlock block in blocks)
            x = block.Forward(context, x);
        return x;
    }

    /// <summary>The final norm and its dropout.</summary>
    public Tensor Finish(Tape tape, Tensor x) => tape.Dropout(norm is null ? x : norm.Forward(tape, x), dropout);
}
