using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// Approximate leading singular vectors of a gradient, computed on its device: randomized subspace iteration (Halko, Martinsson and Tropp, "Finding
/// structure with randomness", SIAM Review 2011, algorithms 4.4 and 5.1). A normal sketch of rank + 8 rows is multiplied by G and Gᵀ in
/// turn, orthonormalised after each product; the result is the singular vectors of G restricted to that subspace, in descending order.
/// All products run on the device; only matrices of (rank + 8)² elements are copied to the host. The seed determines every bit.
/// </summary>
/// <remarks>
/// Orthonormalising is Cholesky-QR: L L ᵀ = Y Yᵀ, Y ← L⁻¹ Y. It is repeated for the basis; rows of the next product only have to be far from dependent. Where the factorisation has no digits left it is shifted (Fukaya et al., "Shifted
/// Cholesky QR", SIAM J. Sci. Comput. 2020) and the next pass does the rest. Noise of the size of rounding errors makes a
/// gradient of low rank, or of zeros, span a whole subspace.
/// </remarks>
internal sealed class RandomizedSubspace
{
    private const int Oversampling = 8, MaxPasses = 8, Lanes = 8, Together = 4;
    private const float Noise = 1e-7f;
    private const double Identity = 1e-6, Shift = 1e-6, MinPivot = 1e-5;

    private readonly Device device;
    private readonly int sketch;
    private readonly Block noise, spare, gram, triangle, scalar;

    /// <summary>A Gram matrix, then its inverse factor.</summary>
    private readonly float[] host;

    /// <summary>A Cholesky factor R = Lᵀ and L⁻¹, in rows of <see cref="stride"/> elements with zeros beside each triangle, so that whole vectors may reach over its diagonal. More rows follow, for <see cref="Subtract"/>.</summary>
    private readonly double[] upper, inverse;

    private readonly int stride;

    private RandomizedSubspace(Device device, int sketch, int longest, ulong seed, ulong stream)
    {
        (this.device, this.sketch) = (device, sketch);
        noise = device.Pool.Rent((long)sketch * longest);
        spare = device.Pool.Rent((long)sketch * longest);
        gram = device.Pool.Rent((long)sketch * sketch);
        triangle = device.Pool.Rent((long)sketch * sketch);
        scalar = device.Pool.Rent(1);
        host = new float[sketch * sketch];
        stride = Padded(sketch);
        upper = new double[(sketch + Together) * stride];
        inverse = new double[upper.Length];
        device.Random(noise, RandomKind.Normal, 1, ~seed, stream);
    }

    /// <summary>Finds the basis of a projection, and the second one where both sides are projected.</summary>
    /// <param name="device">The device of all operands.</param>
    /// <param name="projection">The sizes.</param>
    /// <param name="gradient">Rows × columns.</param>
    /// <param name="iterations">Multiplications by G and Gᵀ after the first; each sharpens the subspace by a factor of (σₖ₊₁ / σₖ)².</param>
    /// <param name="seed">Determines the sketch, together with <paramref name="stream"/>.</param>
    /// <param name="stream">Differs for each refresh.</param>
    /// <param name="basis">Receives the vectors in the projection's layout.</param>
    /// <param name="second">Receives the other side's, as rows; not used otherwise.</param>
    /// <exception cref="UserException">The gradient is not finite.</exception>
    public static void Find(Device device, in Projection projection, Block gradient, int iterations, ulong seed, ulong stream, Block basis, Block second)
    {
        int m = projection.Rows, n = projection.Columns, rank = projection.Rank, sketch = Math.Min(rank + Oversampling, Math.Min(m, n));
        bool left = projection.IsFull || projection.IsLeft;
        int near = left ? m : n, far = left ? n : m;
        var subspace = new RandomizedSubspace(device, sketch, Math.Max(m, n), seed, stream);
        Block y = device.Pool.Rent((long)sketch * near), z = device.Pool.Rent((long)sketch * far);
        device.Random(z, RandomKind.Normal, 1, seed, stream);
        device.Gemm(new GemmArguments(z, gradient, y, sketch, near, far) { TransposeB = left });
        subspace.Orthonormalise(y, near, isBasis: iterations == 0);
        for (int i = 0; i < iterations; i++)
        {
            device.Gemm(new GemmArguments(y, gradient, z, sketch, far, near) { TransposeB = !left });
            subspace.Orthonormalise(z, far, isBasis: false);
            device.Gemm(new GemmArguments(z, gradient, y, sketch, near, far) { TransposeB = left });
            subspace.Orthonormalise(y, near, isBasis: i == iterations - 1);
        }

        device.Gemm(new GemmArguments(y, gradient, z, sketch, far, near) { TransposeB = !left });
        Block rotation = subspace.Principal(z, far, rank);
        if (left)
            device.Gemm(new GemmArguments(y, rotation, basis, m, rank, sketch) { TransposeA = true, TransposeB = true });
        else
            device.Gemm(new GemmArguments(rotation, y, basis, rank, n, sketch));
        if (projection.IsFull)
        {
            device.Gemm(new GemmArguments(rotation, z, second, rank, n, sketch));
            subspace.Orthonormalise(second, n, isBasis: true, rank);
        }

        device.Pool.Return(y);
        device.Pool.Return(z);
        device.Pool.Return(rotation);
        subspace.Return();
    }

    private void Return()
    {
        foreach (Block block in (ReadOnlySpan<Block>)[noise, spare, gram, triangle, scalar])
            device.Pool.Return(block);
    }

    /// <summary>Makes rows orthonormal, in order: the first keeps its direction.</summary>
    /// <param name="rows">count × length elements.</param>
    /// <param name="length">Elements of a row.</param>
    /// <param name="isBasis">True: to rounding errors. False: for the next product, which the first factorisation that needs no shift suffices for.</param>
    /// <param name="count">Number of rows; 0: all of the sketch.</param>
    private void Orthonormalise(Block rows, int length, bool isBasis, int count = 0)
    {
        count = count == 0 ? sketch : count;
        long elements = (long)count * length;
        Block other = spare.Slice(0, elements), products = gram.Slice(0, (long)count * count), factor = triangle.Slice(0, (long)count * count);
        device.Map(new SquaresRule(), 1, elements, rows, Operand.Scalar(scalar));
        device.Map(new UnitSizeRule(elements), 1, elements, rows, noise.Slice(0, elements), Operand.Scalar(scalar));
        Span<float> values = host.AsSpan(0, count * count);
        for (int pass = 0; pass < MaxPasses; pass++)
        {
            device.Gemm(new GemmArguments(rows, rows, products, count, count, length) { TransposeB = true });
            device.Download(products, values);
            if (!Factor(values, count, out bool isShifted))
                return;
            device.Upload(values, factor);
            device.Gemm(new GemmArguments(factor, rows, other, count, length, count));
            device.Copy(other, rows);
            if (!isBasis && !isShifted)
                return;
        }
    }

    /// <summary>The rotation, rank × sketch, that turns the subspace's rows to its singular vectors.</summary>
    private Block Principal(Block image, int length, int rank)
    {
        device.Gemm(new GemmArguments(image, image, gram, sketch, sketch, length) { TransposeB = true });
        device.Download(gram, host);
        double[] vectors = SymmetricEigen.Leading(Array.ConvertAll(host, value => (double)value), sketch, rank, device).Vectors;
        Block rotation = device.Pool.Rent((long)rank * sketch);
        device.Upload(Array.ConvertAll(vectors, value => (float)value), rotation);
        return rotation;
    }

    /// <summary>Replaces a Gram matrix by L⁻¹; false when it is the identity already, or when nothing was computed.</summary>
    private bool Factor(Span<float> gram, int size, out bool isShifted)
    {
        double trace = 0, error = 0;
        for (int i = 0; i < size; i++)
        {
            float diagonal = gram[i * size + i];
            trace += diagonal;
            error = Math.Max(error, Math.Max(Math.Abs(diagonal - 1), Largest(gram.Slice(i * size, i))));
        }

        if (!double.IsFinite(trace))
            throw new UserException("the gradient is not finite, so it has no singular vectors; lower the learning rate or clip gradients");
        isShifted = false;
        if (trace == 0 || error <= Identity)
            return false;
        isShifted = !Cholesky(gram, size, 0);
        if (isShifted && !Cholesky(gram, size, Shift * trace))
            throw new InvalidOperationException("a shifted Gram matrix is not positive");
        Invert(gram, size);
        return true;
    }

    /// <summary>The largest magnitude.</summary>
    private static float Largest(ReadOnlySpan<float> values)
    {
        Vector<float> largest = default;
        int i = 0;
        for (; i <= values.Length - Vector<float>.Count; i += Vector<float>.Count)
            largest = Vector.Max(largest, Vector.Abs(new Vector<float>(values[i..])));
        float result = 0;
        for (int k = 0; k < Vector<float>.Count; k++)
            result = Math.Max(result, largest[k]);
        for (; i < values.Length; i++)
            result = Math.Max(result, Math.Abs(values[i]));
        return result;
    }

    /// <summary>Writes L⁻¹ in the place of the Gram matrix.</summary>
    private void Invert(Span<float> result, int size)
    {
        Array.Clear(inverse);
        result.Clear();
        for (int i = 0; i < size; i++)
        {
            Span<double> row = inverse.AsSpan(i * stride, stride);
            row[i] = 1;
            for (int j = 0; j < i; j += Together)
                Subtract(upper, j, Math.Min(Together, i - j), i, inverse, row[..Math.Min(stride, Padded(j + Together))], 0);
            double scale = 1 / upper[i * stride + i];
            for (int j = 0; j <= i; j++)
                result[i * size + j] = (float)(row[j] *= scale);
        }
    }

    /// <summary>R with Rᵀ R = gram + shift; false when too little of a row is left beside those before it.</summary>
    private bool Cholesky(ReadOnlySpan<float> gram, int size, double shift)
    {
        Array.Clear(upper);
        for (int i = 0; i < size; i++)
        {
            int first = i & -Lanes;
            Span<double> row = upper.AsSpan(i * stride, stride);
            for (int j = i; j < size; j++)
                row[j] = gram[i * size + j];
            row[i] += shift;
            for (int j = 0; j < i; j += Together)
                Subtract(upper, j, Math.Min(Together, i - j), i, upper, row, first);
            double pivot = row[i];
            if (pivot <= (shift == 0 ? MinPivot * gram[i * size + i] : 0))
                return false;
            row[first..i].Clear();
            double root = Math.Sqrt(pivot), scale = 1 / root;
            for (int j = i + 1; j < size; j++)
                row[j] *= scale;
            row[i] = root;
        }

        return true;
    }

    /// <summary>target -= Σ F[row, column] X[row, ·] over up to four rows, in whole vectors from an element on. Rows after them are read and multiplied by zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Subtract(double[] factors, int row, int count, int column, double[] x, Span<double> target, int from)
    {
        ref double f = ref factors[row * stride + column], source = ref x[row * stride], to = ref MemoryMarshal.GetReference(target);
        nuint next = (nuint)stride;
        Vector512<double> a = Vector512.Create(-f), b = Vector512.Create(count > 1 ? -Unsafe.Add(ref f, next) : 0);
        Vector512<double> c = Vector512.Create(count > 2 ? -Unsafe.Add(ref f, 2 * next) : 0), d = Vector512.Create(count > 3 ? -Unsafe.Add(ref f, 3 * next) : 0);
        for (nuint j = (nuint)from; j < (nuint)target.Length; j += Lanes)
        {
            Vector512<double> value = Vector512.FusedMultiplyAdd(a, Vector512.LoadUnsafe(ref source, j), Vector512.LoadUnsafe(ref to, j));
            value = Vector512.FusedMultiplyAdd(b, Vector512.LoadUnsafe(ref source, next + j), value);
            value = Vector512.FusedMultiplyAdd(c, Vector512.LoadUnsafe(ref source, 2 * next + j), value);
            Vector512.FusedMultiplyAdd(d, Vector512.LoadUnsafe(ref source, 3 * next + j), value).StoreUnsafe(ref to, j);
        }
    }

    /// <summary>A number of elements rounded up to the whole vectors.</summary>
    private static int Padded(int count) => (count + 15) & ~15;

    /// <summary>Scales a matrix to a mean square of one and adds noise of the size of rounding errors.</summary>
    private readonly struct UnitSizeRule(float count) : IMap3
    {
        private readonly float count = count;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L value, ref L noise, ref L squares) where L : struct, ILane<L>
        {
            L scale = L.Select(L.Less(L.Splat(0), squares), L.Sqrt(L.Splat(count) / squares), L.Splat(1));
            value = L.Fma(value, scale, L.Splat(Noise) * noise);
        }
    }
}
