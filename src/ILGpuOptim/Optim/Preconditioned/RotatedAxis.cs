using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>An axis of a parameter that <see cref="Soap"/> rotates: <paramref name="Before"/> × <paramref name="Size"/> × <paramref name="After"/> elements.</summary>
/// <param name="Index">Its number among the axes of the parameter.</param>
/// <param name="Before">The product of the sizes before it.</param>
/// <param name="Size">Its size n.</param>
/// <param name="After">The product of the sizes after it.</param>
internal sealed record RotatedAxis(int Index, int Before, int Size, int After)
{
    /// <summary>The state's name of the Gram matrix.</summary>
    public string Gram { get; } = $"GG.{Index}";

    /// <summary>The state's name of the basis, whose rows are eigenvectors.</summary>
    public string Basis { get; } = $"Q.{Index}";

    /// <summary>The rotated axes of a shape.</summary>
    public static IReadOnlyList<RotatedAxis> Of(IReadOnlyList<int> shape, SoapOptions o)
    {
        if (shape.Count < 2 && !o.PreconditionVectors)
            return [];
        IReadOnlyList<int> sizes = o.MergeDims && shape.Count > 1 ? Merged(shape, o) : shape;
        var axes = new List<RotatedAxis>();
        int before = 1, after = sizes.Aggregate(1, (product, size) => checked(product * size));
        for (int i = 0; i < sizes.Count; i++)
        {
            if (sizes[i] == 0)
                return [];
            after /= sizes[i];
            if (sizes[i] <= o.MaxPrecondDim)
                axes.Add(new(i, before, sizes[i], after));
            before *= sizes[i];
        }

        return axes;
    }

    /// <summary>Merges neighbouring sizes from the left while their product is within the limit.</summary>
    private static IReadOnlyList<int> Merged(IReadOnlyList<int> shape, SoapOptions o)
    {
        var merged = new List<int>();
        long current = 1;
        foreach (int size in shape)
        {
            if (current * size <= o.MaxPrecondDim)
            {
                current *= size;
            }
            else if (current > 1)
            {
                merged.Add((int)current);
                current = size;
            }
            else
            {
                merged.Add(size);
            }
        }

        if (current > 1 || merged.Count == 0)
            merged.Add((int)current);
        return o.KeepsMatrices && merged.Count < 2 ? [shape.SkipLast(1).Aggregate(1, (product, size) => product * size), shape[^1]] : merged;
    }

    /// <summary>The product that rotates a tensor along the axis, to the eigenvectors or back.</summary>
    public GemmArguments Rotation(Block basis, Block source, Block target, bool back) => After == 1
        ? new GemmArguments(source, basis, target, Before, Size, Size) { TransposeB = !back }
        : new GemmArguments(basis, source, target, Size, After, Size) { TransposeA = back, Batch = Before, BatchStrideB = (long)Size * After, BatchStrideC = (long)Size * After };

    /// <summary>L = β L + (1-β) G Gᵀ over the other axes.</summary>
    public void AddProducts(Device device, Block gradient, Block gram, float beta)
    {
        if (After == 1)
        {
            device.Gemm(new GemmArguments(gradient, gradient, gram, Size, Size, Before) { TransposeA = true, Alpha = 1 - beta, Beta = beta });
            return;
        }

        long length = (long)Size * After;
        for (int i = 0; i < Before; i++)
        {
            Block part = gradient.Slice(i * length, length);
            device.Gemm(new GemmArguments(part, part, gram, Size, Size, After) { TransposeB = true, Alpha = 1 - beta, Beta = i == 0 ? beta : 1 });
        }
    }

    /// <summary>The eigenvectors of a Gram matrix by falling eigenvalue, as rows; the reversed identity of a matrix of zeros.</summary>
    /// <exception cref="UserException">The matrix is not finite.</exception>
    public float[] Eigenvectors(Device device, Block gram)
    {
        var host = new float[gram.Length];
        device.Download(gram, host);
        if (!Array.TrueForAll(host, float.IsFinite))
            throw new UserException("the gradient is not finite, so its Gram matrix has no eigenvectors; lower the learning rate or clip gradients");
        if (Array.TrueForAll(host, value => value == 0))
        {
            for (int i = 0; i < Size; i++)
                host[i * Size + Size - 1 - i] = 1;
            return host;
        }

        return Array.ConvertAll(SymmetricEigen.Leading(Array.ConvertAll(host, value => (double)value), Size, Size, device).Vectors, value => (float)value);
    }

    /// <summary>For each element of a tensor, the element that takes its place when every axis is reordered.</summary>
    public static int[] Positions(IReadOnlyList<RotatedAxis> axes, int[][] orders, long length)
    {
        var positions = new int[length];
        for (int i = 0; i < positions.Length; i++)
            positions[i] = i;
        for (int a = 0; a < orders.Length; a++)
        {
            (int size, int after) = (axes[a].Size, axes[a].After);
            for (int start = 0, own = 0; start < positions.Length; start += after, own = own + 1 == size ? 0 : own + 1)
            {
                int shift = (orders[a][own] - own) * after;
                foreach (ref int position in positions.AsSpan(start, after))
                    position += shift;
            }
        }

        return positions;
    }
}
