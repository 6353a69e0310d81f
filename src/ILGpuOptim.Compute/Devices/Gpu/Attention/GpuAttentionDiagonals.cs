using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// The tiles that contain 64 distances (key - query), which start at a multiple of 64, for one head: two diagonals of tiles in all sequences, in a fixed order, so that no
/// element of the gradient of distance biases is written by two groups.
/// </summary>
internal struct GpuAttentionDiagonals
{
    private readonly int diagonal, queryBlocks, keyBlocks;
    private int batch, block, end;

    /// <summary>The head, and which of the two diagonals the tile is on: in the second, the distances are those from 63 below to those of its main diagonal.</summary>
    public int Head, Side;

    /// <param name="x">The arguments.</param>
    /// <param name="group">The group: its block of distances, then its head.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuAttentionDiagonals(GpuAttentionArguments x, int group)
    {
        queryBlocks = (x.QueryLength + GpuAttention.Tile - 1) / GpuAttention.Tile;
        keyBlocks = (x.KeyLength + GpuAttention.Tile - 1) / GpuAttention.Tile;
        Head = group / x.Blocks;
        diagonal = group % x.Blocks - queryBlocks;
        Side = -1;
        batch = x.Batch - 1;
        block = end = 0;
    }

    /// <summary>The first distance.</summary>
    public readonly int First => diagonal * GpuAttention.Tile;

    /// <summary>Selects the next tile; false after the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Next(GpuAttentionArguments x, ref GpuAttentionTile tile)
    {
        block++;
        while (block >= end)
        {
            if (++batch >= x.Batch)
            {
                if (++Side > 1)
                    return false;

                // Distances that are masked everywhere need no work, nor do no sequences.
                bool seen = x.Batch > 0 && First <= x.Offset && First + GpuAttention.Tile - 1 >= x.Lower;
                batch = 0;
                end = seen ? IntrinsicMath.Min(queryBlocks, keyBlocks - diagonal - Side) : 0;
            }

            block = IntrinsicMath.Max(0, -diagonal - Side);
        }

        tile.Batch = batch;
        tile.OfKeys(x, Head / (x.Heads / x.KeyHeads), (block + diagonal + Side) * GpuAttention.Tile);
        tile.OfQueries(x, Head, block * GpuAttention.Tile);
        return true;
    }
}
