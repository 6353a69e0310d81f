using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// The gradient of distance biases: recomputed score gradients, summed along the diagonals of the tiles.
internal static partial class GpuAttentionPanels
{
    /// <summary>One group for each head and each 64 distances.</summary>
    public static void Distances(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<float> tiles = SharedMemory.Allocate<float>(2 * Tile * Pitch);
        ArrayView<float> weights = SharedMemory.Allocate<float>(Tile * Pitch), gradients = SharedMemory.Allocate<float>(Tile * Pitch), sums = SharedMemory.Allocate<float>(Tile);
        for (int t = 0; t < Tile; t++)
            sums[t] = 0;
        var tile = new GpuAttentionTile();
        var diagonals = new GpuAttentionDiagonals(x, Grid.IdxX);
        while (diagonals.Next(x, ref tile))
        {
            ScoreGradients(x, form.Value, tile, true, tiles, weights, gradients);
            for (int t = 0; t < Tile; t++)
                sums[t] += GpuAttention.SumDiagonal(gradients, Pitch, t - diagonals.Side * Tile);
        }

        for (int t = 0; t < Tile; t++)
        {
            int row = diagonals.First + t + x.QueryLength - 1;
            if (row >= 0 && row < x.QueryLength + x.KeyLength - 1)
                x.DistanceGradient[(long)row * x.Heads + diagonals.Head] = sums[t];
        }
    }
}
