using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// A symmetric matrix as Q T Qᵀ with T tridiagonal and Q a product of reflections (Householder, 1958), in double precision on the host. Each
/// reflection costs one pass over the rest of the matrix, which applies the previous reflection and computes the product for the next. Each row is summed by one of the device's threads, so results
/// are the same bits for any number.
/// </summary>
internal sealed class Tridiagonal
{
    /// <summary>With fewer rows, threads would wait for each other longer than they compute.</summary>
    private const int FewRows = 256;

    private const int RowsTogether = 32;
    private readonly double[] matrix, factors;
    private double[] v, w, nextV, product;

    /// <summary>Reduces a matrix of size × size elements, which is overwritten.</summary>
    /// <param name="matrix">The matrix.</param>
    /// <param name="size">Its rows.</param>
    /// <param name="device">Whose threads share the work.</param>
    public Tridiagonal(double[] matrix, int size, Device device)
    {
        this.matrix = matrix;
        Size = size;
        Diagonal = new double[size];
        OffDiagonal = new double[Math.Max(0, size - 1)];
        factors = new double[size];
        (v, w, nextV, product) = (new double[size], new double[size], new double[size], new double[size]);
        Reduce(device);
    }

    /// <summary>Rows of the matrix.</summary>
    public int Size { get; }

    /// <summary>The diagonal of T.</summary>
    public double[] Diagonal { get; }

    /// <summary>The off-diagonal of T.</summary>
    public double[] OffDiagonal { get; }

    /// <summary>Q times each of some vectors that lie one after the other, in place.</summary>
    /// <param name="vectors">The vectors.</param>
    /// <param name="length">The elements of each that may differ from zero. Reflections of the elements after them change nothing.</param>
    public void Lift(Span<double> vectors, int length)
    {
        for (int k = Math.Min(length, Size) - 2; k >= 0; k--)
        {
            ReadOnlySpan<double> reflection = matrix.AsSpan(k * Size + k + 1, Size - k - 1);
            for (int start = k + 1; start < vectors.Length; start += Size)
            {
                Span<double> tail = vectors.Slice(start, reflection.Length);
                AddScaled(-factors[k] * Dot(reflection, tail), reflection, tail);
            }
        }
    }

    private void Reduce(Device device)
    {
        int step = 0;
        Action<int> pass = block => Pass(step, block);
        for (; step < Size; step++)
        {
            Reflect(step);
            if (step == Size - 1)
                break;
            int blocks = (Size - step - 1 + RowsTogether - 1) / RowsTogether;
            if (Size - step <= FewRows)
            {
                for (int block = 0; block < blocks; block++)
                    Pass(step, block);
            }
            else
            {
                device.ForEachOnHost(blocks, pass);
            }

            Advance(step);
        }
    }

    /// <summary>Brings row k up to date and finds the reflection that clears it beyond its second element.</summary>
    private void Reflect(int k)
    {
        Span<double> row = matrix.AsSpan(k * Size + k, Size - k);
        AddScaled(-v[k], w.AsSpan(k), row);
        AddScaled(-w[k], v.AsSpan(k), row);
        Diagonal[k] = row[0];
        if (k == Size - 1)
            return;
        Span<double> x = row[1..];
        double rest = Dot(x[1..], x[1..]), length = Math.Sqrt(x[0] * x[0] + rest);
        if (rest == 0)
        {
            OffDiagonal[k] = x[0];
            factors[k] = 0;
        }
        else
        {
            double image = x[0] > 0 ? -length : length, scale = 1 / (x[0] - image);
            factors[k] = (image - x[0]) / image;
            OffDiagonal[k] = image;
            for (int i = 1; i < x.Length; i++)
                x[i] *= scale;
        }

        x[0] = 1;
        x.CopyTo(nextV.AsSpan(k + 1));
    }

    /// <summary>Some rows of A ← A - v wᵀ - w vᵀ and their products with the next reflection's vector.</summary>
    private void Pass(int k, int block)
    {
        int first = k + 1, length = Size - first, i = first + block * RowsTogether, end = Math.Min(Size, i + RowsTogether);
        ReadOnlySpan<double> x = w.AsSpan(first, length), y = v.AsSpan(first, length), z = nextV.AsSpan(first, length);
        for (; i < end - 1; i += 2)
            (product[i], product[i + 1]) = Update(matrix.AsSpan(i * Size + first, length), v[i], w[i], matrix.AsSpan((i + 1) * Size + first, length), v[i + 1], w[i + 1], x, y, z);
        if (i < end)
            product[i] = Update(matrix.AsSpan(i * Size + first, length), v[i], x, w[i], y, z);
    }

    private void Advance(int k)
    {
        Span<double> direction = nextV.AsSpan(k + 1), image = product.AsSpan(k + 1);
        double factor = factors[k], half = -0.5 * factor * factor * Dot(image, direction);
        Span<double> target = w.AsSpan(k + 1);
        for (int i = 0; i < image.Length; i++)
            target[i] = factor * image[i] + half * direction[i];
        (v, nextV) = (nextV, v);
    }

    /// <summary>row -= a x + b y, and its product with z.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Update(Span<double> row, double a, ReadOnlySpan<double> x, double b, ReadOnlySpan<double> y, ReadOnlySpan<double> z)
    {
        ref double target = ref MemoryMarshal.GetReference(row), px = ref MemoryMarshal.GetReference(x), py = ref MemoryMarshal.GetReference(y), pz = ref MemoryMarshal.GetReference(z);
        Vector512<double> va = Vector512.Create(-a), vb = Vector512.Create(-b), sum = default;
        int i = 0;
        for (; i <= row.Length - 8; i += 8)
        {
            Vector512<double> value = Vector512.FusedMultiplyAdd(va, Vector512.LoadUnsafe(ref px, (nuint)i), Vector512.LoadUnsafe(ref target, (nuint)i));
            value = Vector512.FusedMultiplyAdd(vb, Vector512.LoadUnsafe(ref py, (nuint)i), value);
            value.StoreUnsafe(ref target, (nuint)i);
            sum = Vector512.FusedMultiplyAdd(value, Vector512.LoadUnsafe(ref pz, (nuint)i), sum);
        }

        double total = Vector512.Sum(sum);
        for (; i < row.Length; i++)
        {
            row[i] -= a * x[i] + b * y[i];
            total += row[i] * z[i];
        }

        return total;
    }

    /// <summary>The same for two rows, which read x, y and z once. Each sum is that of <see cref="Update(Span{double}, double, ReadOnlySpan{double}, double, ReadOnlySpan{double}, ReadOnlySpan{double})"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (double First, double Second) Update(Span<double> row, double a, double b, Span<double> next, double nextA, double nextB, ReadOnlySpan<double> x, ReadOnlySpan<double> y, ReadOnlySpan<double> z)
    {
        ref double target = ref MemoryMarshal.GetReference(row), nextTarget = ref MemoryMarshal.GetReference(next);
        ref double px = ref MemoryMarshal.GetReference(x), py = ref MemoryMarshal.GetReference(y), pz = ref MemoryMarshal.GetReference(z);
        Vector512<double> va = Vector512.Create(-a), vb = Vector512.Create(-b), sum = default, nextVa = Vector512.Create(-nextA), nextVb = Vector512.Create(-nextB), nextSum = default;
        int i = 0;
        for (; i <= row.Length - 8; i += 8)
        {
            Vector512<double> vx = Vector512.LoadUnsafe(ref px, (nuint)i), vy = Vector512.LoadUnsafe(ref py, (nuint)i), vz = Vector512.LoadUnsafe(ref pz, (nuint)i);
            Vector512<double> value = Vector512.FusedMultiplyAdd(vb, vy, Vector512.FusedMultiplyAdd(va, vx, Vector512.LoadUnsafe(ref target, (nuint)i)));
            Vector512<double> nextValue = Vector512.FusedMultiplyAdd(nextVb, vy, Vector512.FusedMultiplyAdd(nextVa, vx, Vector512.LoadUnsafe(ref nextTarget, (nuint)i)));
            value.StoreUnsafe(ref target, (nuint)i);
            nextValue.StoreUnsafe(ref nextTarget, (nuint)i);
            sum = Vector512.FusedMultiplyAdd(value, vz, sum);
            nextSum = Vector512.FusedMultiplyAdd(nextValue, vz, nextSum);
        }

        double total = Vector512.Sum(sum), nextTotal = Vector512.Sum(nextSum);
        for (; i < row.Length; i++)
        {
            row[i] -= a * x[i] + b * y[i];
            total += row[i] * z[i];
            next[i] -= nextA * x[i] + nextB * y[i];
            nextTotal += next[i] * z[i];
        }

        return (total, nextTotal);
    }

    /// <summary>Σ xᵢ yᵢ over the length of x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double Dot(ReadOnlySpan<double> x, ReadOnlySpan<double> y)
    {
        ref double px = ref MemoryMarshal.GetReference(x), py = ref MemoryMarshal.GetReference(y[..x.Length]);
        Vector512<double> first = default, second = default;
        int i = 0;
        for (; i <= x.Length - 16; i += 16)
        {
            first = Vector512.FusedMultiplyAdd(Vector512.LoadUnsafe(ref px, (nuint)i), Vector512.LoadUnsafe(ref py, (nuint)i), first);
            second = Vector512.FusedMultiplyAdd(Vector512.LoadUnsafe(ref px, (nuint)i + 8), Vector512.LoadUnsafe(ref py, (nuint)i + 8), second);
        }

        double total = Vector512.Sum(first + second);
        for (; i < x.Length; i++)
            total += x[i] * y[i];
        return total;
    }

    /// <summary>target += factor · x over the length of x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddScaled(double factor, ReadOnlySpan<double> x, Span<double> target)
    {
        ref double px = ref MemoryMarshal.GetReference(x), to = ref MemoryMarshal.GetReference(target[..x.Length]);
        Vector512<double> f = Vector512.Create(factor);
        int i = 0;
        for (; i <= x.Length - 8; i += 8)
            Vector512.FusedMultiplyAdd(f, Vector512.LoadUnsafe(ref px, (nuint)i), Vector512.LoadUnsafe(ref to, (nuint)i)).StoreUnsafe(ref to, (nuint)i);
        for (; i < x.Length; i++)
            target[i] += factor * x[i];
    }
}
