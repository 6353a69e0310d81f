using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// The gradient of distance biases: recomputed score gradients, summed along the diagonals of the tiles.
internal static partial class GpuAttentionPanels
{
    /// <summary>
    /// One group for each head and each 64 distances (key - query) that start at a multiple of 64. It visits two diagonals of tiles in all sequences, in
    /// a fixed order, so that no element is written by two groups.
    /// </summary>
    public static void Distances(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<float> tiles = SharedMemory.Allocate<float>(2 * Tile * Pitch);
        ArrayView<float> weights = SharedMemory.Allocate<float>(Tile * Pitch), gradients = SharedMemory.Allocate<float>(Tile * Pitch), sums = SharedMemory.Allocate<float>(Tile);
        int queryBlocks = (x.QueryLength + Tile - 1) / Tile, keyBlocks = (x.KeyLength + Tile - 1) / Tile;
        int head = Grid.IdxX / x.Blocks, diagonal = Grid.IdxX % x.Blocks - queryBlocks;
        for (int t = 0; t < Tile; t++)
            sums[t] = 0;

        // Distances that are masked everywhere need no work.
        bool seen = diagonal * Tile <= x.Offset && diagonal * Tile + Tile - 1 >= x.Lower;
        for (int side = 0; side < 2; side++)
        {
            // A tile of this diagonal covers the distances from 63 below to 63 above it.
            int between = diagonal + side, first = IntrinsicMath.Max(0, -between), end = seen ? IntrinsicMath.Min(queryBlocks, keyBlocks - between) : 0;
            for (int batch = 0; batch < x.Batch; batch++)
            {
                for (int block = first; block < end; block++)
                {
                    var tile = new GpuAttentionTile { Batch = batch };
                    tile.OfKeys(x, head / (x.Heads / x.KeyHeads), (block + between) * Tile);
                    tile.OfQueries(x, head, block * Tile);
                    ScoreGradients(x, form.Value, tile, true, tiles, weights, gradients);
                    for (int t = 0; t < Tile; t++)
                        sums[t] += GpuAttention.SumDiagonal(gradients, Pitch, t - side * Tile);
                }
            }
        }

        for (int t = 0; t < Tile; t++)
        {
            int row = diagonal * Tile + t + x.QueryLength - 1;
            if (row >= 0 && row < x.QueryLength + x.KeyLength - 1)
                x.DistanceGradient[(long)row * x.Heads + head] = sums[t];
        }
    }
}
