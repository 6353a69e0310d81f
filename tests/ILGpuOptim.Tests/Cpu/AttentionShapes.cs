namespace ILGpuOptim.Tests.Cpu;

/// <summary>The sizes and masks that attention is tested with.</summary>
internal static class AttentionShapes
{
    /// <summary>Every feature, with lengths and head sizes on both sides of vectors, register tiles and blocks.</summary>
    public static IEnumerable<AttentionShape> Usual()
    {
        int[] lengths = [1, 2, 3, 7, 31, 33, 64, 130];
        int[] sizes = [1, 7, 16, 32, 33, 64, 128];
        for (int n = 0; n < lengths.Length; n++)
        {
            for (int m = 0; m < sizes.Length; m++)
            {
                yield return new(1, 2, 1, sizes[m], lengths[n], lengths[n]) { Causal = (n + m) % 2 == 0, Padding = m % 3 };
            }
        }

        yield return new(2, 6, 2, 33, 31, 31) { Causal = true, Bias = true, Padding = 5 };
        yield return new(3, 6, 2, 7, 33, 70) { Causal = true, SpareKeys = 3 };
        yield return new(2, 3, 3, 16, 70, 33) { Causal = true };
        yield return new(1, 1, 1, 32, 200, 65) { Causal = true, Bias = true };
        yield return new(2, 2, 1, 16, 1, 300) { Causal = true, Bias = true, SpareKeys = 40, Padding = 3 };
        yield return new(2, 4, 2, 33, 2, 131) { Causal = true, SpareKeys = 1, Dropout = 0.3f };
        yield return new(1, 6, 2, 64, 3, 131) { Causal = true };
        yield return new(2, 2, 2, 64, 7, 1) { Bias = true };
        yield return new(2, 6, 2, 33, 67, 129) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 1, SpareKeys = 2 };
        yield return new(1, 2, 2, 8, 130, 67) { Dropout = 0.5f };
        yield return new(2, 2, 1, 32, 130, 132) { Causal = true, Dropout = 0.25f };
        yield return new(12, 4, 4, 32, 64, 64) { Causal = true };
        yield return new(1, 2, 1, 64, 130, 130) { Causal = true };
        yield return new(2, 4, 2, 64, 67, 129) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 4, SpareKeys = 2 };
        yield return new(1, 2, 2, 48, 70, 33) { Bias = true };
        yield return new(1, 3, 1, 12, 100, 200) { Causal = true, Padding = 8 };
        yield return new(1, 4, 2, 256, 70, 70) { Causal = true, Dropout = 0.25f };
        yield return new(1, 2, 1, 322, 33, 70) { Bias = true };
        yield return new(0, 2, 2, 8, 4, 4);
        yield return new(2, 2, 2, 8, 0, 4);
        yield return new(2, 2, 2, 8, 4, 0);
        yield return new(1, 2, 2, 8, 1, 0) { Causal = true };
    }

    /// <summary>Windows, ranges, soft-caps, biases by distance and gaps between heads, with few combinations, because a GPU compiles kernels for each.</summary>
    public static IEnumerable<AttentionShape> Masked()
    {
        // Windows, smaller than a tile and larger; in one direction and in both.
        yield return new(2, 2, 1, 16, 150, 150) { Causal = true, Before = 9 };
        yield return new(1, 2, 2, 33, 210, 210) { Causal = true, Before = 64 };
        yield return new(1, 2, 2, 33, 200, 200) { Before = 30, After = 70 };
        yield return new(1, 2, 1, 16, 130, 70) { Causal = true, Before = 5 };
        yield return new(1, 2, 1, 16, 70, 200) { Before = 65, After = 2 };
        yield return new(2, 4, 2, 24, 3, 300) { Causal = true, Before = 129, SpareKeys = 4 };
        yield return new(1, 2, 1, 33, 100, 100) { After = 3 };

        // Documents and other ranges.
        yield return new(3, 2, 1, 16, 150, 150) { Causal = true, Ranges = AttentionRanges.Documents };
        yield return new(2, 2, 2, 33, 140, 140) { Ranges = AttentionRanges.Documents };
        yield return new(2, 2, 2, 8, 1, 1) { Ranges = AttentionRanges.Documents };
        yield return new(3, 4, 2, 16, 100, 170) { Ranges = AttentionRanges.Any };
        yield return new(2, 2, 2, 33, 170, 100) { Ranges = AttentionRanges.Any };
        yield return new(2, 2, 2, 8, 65, 65) { Ranges = AttentionRanges.Everything };
        yield return new(2, 2, 2, 8, 4, 0) { Ranges = AttentionRanges.Everything };
        yield return new(0, 2, 2, 8, 4, 4) { Ranges = AttentionRanges.Any };

        // Soft-cap, biases by distance, gaps between heads.
        yield return new(2, 2, 1, 33, 70, 70) { Causal = true, Cap = 0.7f };
        yield return new(2, 2, 1, 16, 70, 131) { Distances = true };
        yield return new(2, 2, 2, 16, 200, 67) { Distances = true, Causal = true };
        yield return new(3, 3, 3, 17, 130, 67) { Distances = true, Causal = true };
        yield return new(2, 2, 2, 8, 0, 4) { Distances = true };
        yield return new(2, 2, 2, 8, 4, 0) { Distances = true };
        yield return new(0, 2, 2, 8, 4, 4) { Distances = true };
        yield return new(2, 4, 2, 16, 70, 70) { Gap = 4, Padding = 4 };
        yield return new(2, 4, 2, 9, 3, 131) { Gap = 3, Causal = true };

        // Long heads.
        yield return new(1, 2, 1, 136, 70, 100) { Causal = true, Before = 40, Cap = 0.7f, Dropout = 0.25f };
        yield return new(1, 2, 2, 130, 70, 70) { Distances = true, Causal = true };

        // Everything at once.
        yield return new(2, 6, 2, 24, 150, 190)
        {
            Causal = true,
            Before = 70,
            Ranges = AttentionRanges.Documents,
            Cap = 2,
            Distances = true,
            Bias = true,
            Dropout = 0.25f,
            Padding = 4,
            Gap = 4,
            SpareKeys = 6,
        };
        yield return new(2, 6, 2, 33, 150, 90) { Before = 40, After = 50, Ranges = AttentionRanges.Any, Cap = 1, Distances = true, Bias = true, Dropout = 0.25f, Padding = 1, Gap = 3, SpareKeys = 1 };
    }

    /// <summary>
    /// One of each kind of kernel that GPUs have: with vector access (sizes and strides are multiples of four) and general, short and long heads, with and
    /// without biases and dropout; and lengths of zero. For a driver that takes seconds to compile one.
    /// </summary>
    public static IEnumerable<AttentionShape> Few()
    {
        yield return new(1, 2, 1, 16, 33, 33) { Causal = true };
        yield return new(1, 2, 1, 7, 33, 70) { Causal = true, Padding = 1 };
        yield return new(1, 2, 1, 64, 67, 67);
        yield return new(1, 2, 1, 200, 67, 67) { Causal = true };
        yield return new(1, 1, 1, 130, 33, 70);
        yield return new(2, 3, 3, 33, 70, 33) { Causal = true };
        yield return new(1, 4, 2, 64, 67, 129) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 4, SpareKeys = 2 };
        yield return new(1, 6, 2, 33, 67, 65) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 1, SpareKeys = 2 };
        yield return new(0, 2, 2, 8, 4, 4);
        yield return new(2, 2, 2, 8, 0, 4);
        yield return new(2, 2, 2, 8, 4, 0);
    }

    /// <summary>More of them, for devices that compile nothing.</summary>
    public static IEnumerable<AttentionShape> MoreMasked()
    {
        yield return new(1, 2, 2, 8, 70, 70) { Causal = true, Before = 1000 };
        yield return new(1, 2, 2, 8, 70, 70) { Before = int.MaxValue, After = int.MaxValue };
        yield return new(1, 2, 2, 20, 140, 140) { Before = 0, After = 0 };
        yield return new(1, 2, 1, 12, 100, 100) { Before = 64, Bias = true };
        yield return new(2, 4, 2, 32, 1, 300) { Causal = true, Before = 100, SpareKeys = 4 };
        yield return new(1, 4, 2, 24, 4, 200) { Before = 20, After = 1, Dropout = 0.3f };
        yield return new(1, 2, 2, 8, 4, 2) { Causal = true, Before = 0 };
        yield return new(3, 4, 2, 12, 100, 170) { Ranges = AttentionRanges.Any, Bias = true };
        yield return new(3, 4, 2, 12, 170, 100) { Ranges = AttentionRanges.Any, Causal = true, Dropout = 0.2f };
        yield return new(4, 4, 2, 16, 4, 170) { Ranges = AttentionRanges.Any };
        yield return new(4, 4, 2, 16, 3, 170) { Ranges = AttentionRanges.Documents, Causal = true, SpareKeys = 5 };
        yield return new(2, 4, 2, 16, 2, 131) { Causal = true, Cap = 1.5f, Bias = true };
        yield return new(1, 2, 1, 16, 200, 200) { Distances = true, Bias = true };
        yield return new(2, 4, 2, 16, 1, 200) { Distances = true };
        yield return new(1, 4, 2, 16, 3, 130) { Distances = true, Causal = true };
        yield return new(1, 1, 1, 8, 1, 1) { Distances = true, Cap = 2 };
        yield return new(6, 4, 2, 32, 1, 600) { Gap = 32, Distances = true, Cap = 5 };
        yield return new(3, 6, 2, 16, 3, 190)
        {
            Causal = true,
            Before = 70,
            Ranges = AttentionRanges.Documents,
            Cap = 2,
            Distances = true,
            Bias = true,
            Dropout = 0.25f,
            Padding = 1,
            Gap = 2,
            SpareKeys = 6,
        };
        yield return new(2, 2, 2, 8, 0, 4) { Distances = true, Before = 1 };
        yield return new(2, 2, 2, 8, 70, 0) { Distances = true, Cap = 1 };
    }
}
