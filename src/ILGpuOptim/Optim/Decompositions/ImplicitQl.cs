using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// All eigenvalues and vectors of Q T Qᵀ, T tridiagonal, by the implicit QL algorithm with Wilkinson's shift (Golub and Van Loan, Matrix Computations, section
/// 8.3). A sweep of the algorithm is a chain of rotations of neighbouring rows of the vectors. Many sweeps are collected; then each panel of sixteen columns takes all of
/// them while it lies in the second-level cache. Rotations keep the rows orthonormal to rounding errors, however close eigenvalues are. Panels are independent, so
/// results are the same bits for any number of threads.
/// </summary>
internal sealed class ImplicitQl
{
    private const double Epsilon = 2.220446049250313e-16;

    /// <summary>Columns of a panel: two vectors.</summary>
    private const int Panel = 16;

    /// <summary>Rotations for each row that are collected before they are applied: copying a panel takes little time beside as many.</summary>
    private const int RotationsPerRow = 32;

    /// <summary>Sweeps for each eigenvalue, on average. Two suffice in practice.</summary>
    private const int MaxSweeps = 50;

    private readonly int size;
    private readonly double[] diagonal, off, rows;
    private readonly Device device;
    private readonly List<Sweep> sweeps = [];
    private double[] cosines, sines;
    private int rotations;

    private ImplicitQl(Tridiagonal reduced, Device device)
    {
        (size, this.device) = (reduced.Size, device);
        diagonal = [.. reduced.Diagonal];
        off = [.. reduced.OffDiagonal, 0];
        cosines = new double[(RotationsPerRow + 1) * size];
        sines = new double[cosines.Length];
        rows = new double[(long)size * size];
        device.ForEachOnHost((size + Group - 1) / Group, group =>
        {
            int first = group * Group, end = Math.Min(size, first + Group);
            for (int i = first; i < end; i++)
                rows[(long)i * size + i] = 1;
            reduced.Lift(rows.AsSpan(checked(first * size), (end - first) * size), end);
        });
    }

    /// <summary>Rows that are lifted together.</summary>
    private const int Group = 8;

    /// <summary>Rotations of rows <see cref="High"/> - 1 and <see cref="High"/>, then of those before, down to <see cref="Low"/>.</summary>
    private readonly record struct Sweep(int Low, int High, int Start);

    /// <summary>The <paramref name="count"/> largest eigenvalues in falling order, and their vectors as rows.</summary>
    public static (double[] Values, double[] Vectors) Decompose(Tridiagonal reduced, int count, double norm, Device device)
    {
        var ql = new ImplicitQl(reduced, device);
        ql.Diagonalise(norm);
        ql.Apply();
        int[] order = [.. Enumerable.Range(0, ql.size).OrderByDescending(i => ql.diagonal[i]).Take(count)];
        var vectors = new double[(long)count * ql.size];
        device.ForEachOnHost(count, k => Array.Copy(ql.rows, (long)order[k] * ql.size, vectors, (long)k * ql.size, ql.size));
        return ([.. order.Select(i => ql.diagonal[i])], vectors);
    }

    private void Diagonalise(double norm)
    {
        long left = (long)MaxSweeps * size;
        for (int low = 0; low < size; low++)
        {
            for (int high = End(low, norm); high > low; high = End(low, norm))
            {
                if (left-- == 0)
                    throw new InvalidOperationException("the QL algorithm does not converge");
                Step(low, high);
                if (rotations > RotationsPerRow * size)
                    Apply();
            }
        }
    }

    /// <summary>The end of the block that begins at a row: off-diagonal elements that vanish beside the matrix, or beside their neighbours, separate blocks.</summary>
    private int End(int low, double norm)
    {
        int high = low;
        while (high < size - 1 && Math.Abs(off[high]) > Epsilon * Math.Max(norm, Math.Abs(diagonal[high]) + Math.Abs(diagonal[high + 1])))
            high++;
        return high;
    }

    /// <summary>One sweep over a block.</summary>
    private void Step(int low, int high)
    {
        double shift = (diagonal[low + 1] - diagonal[low]) / (2 * off[low]), root = Math.Sqrt(shift * shift + 1);
        double g = diagonal[high] - diagonal[low] + off[low] / (shift < 0 ? shift - root : shift + root);
        double sine = 1, cosine = 1, removed = 0;
        int start = rotations, i = high - 1;
        for (; i >= low; i--)
        {
            double f = sine * off[i], b = cosine * off[i];
            root = Math.Sqrt(f * f + g * g);
            off[i + 1] = root;
            if (root == 0)
                break;
            sine = f / root;
            cosine = g / root;
            g = diagonal[i + 1] - removed;
            root = (diagonal[i] - g) * sine + 2 * cosine * b;
            removed = sine * root;
            diagonal[i + 1] = g + removed;
            g = cosine * root - b;
            (cosines[rotations], sines[rotations++]) = (cosine, sine);
        }

        if (rotations > start)
            sweeps.Add(new(i + 1, high, start));
        if (i >= low)
        {
            // The block falls apart.
            diagonal[i + 1] -= removed;
        }
        else
        {
            diagonal[low] -= removed;
            off[low] = g;
        }

        off[high] = 0;
    }

    /// <summary>Applies the collected sweeps to all columns.</summary>
    private void Apply()
    {
        if (sweeps.Count == 0)
            return;
        int low = sweeps.Min(sweep => sweep.Low), high = sweeps.Max(sweep => sweep.High);
        device.ForEachOnHost((size + Panel - 1) / Panel, panel =>
        {
            int first = panel * Panel, width = Math.Min(Panel, size - first);
            double[] values = ArrayPool<double>.Shared.Rent((high - low + 1) * Panel);
            for (int i = low; i <= high; i++)
                rows.AsSpan(checked(i * size + first), width).CopyTo(values.AsSpan((i - low) * Panel));
            foreach (Sweep sweep in sweeps)
                Rotate(ref values[(sweep.High - low) * Panel], cosines.AsSpan(sweep.Start, sweep.High - sweep.Low), sines.AsSpan(sweep.Start));
            for (int i = low; i <= high; i++)
                values.AsSpan((i - low) * Panel, width).CopyTo(rows.AsSpan(i * size + first));
            ArrayPool<double>.Shared.Return(values);
        });
        sweeps.Clear();
        rotations = 0;
    }

    /// <summary>Rotates the last row and the one before, then that one and the one before it, and so on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rotate(ref double last, ReadOnlySpan<double> cosines, ReadOnlySpan<double> sines)
    {
        ref double c = ref MemoryMarshal.GetReference(cosines), s = ref MemoryMarshal.GetReference(sines);
        Vector512<double> left = Vector512.LoadUnsafe(ref last), right = Vector512.LoadUnsafe(ref last, 8);
        for (nuint k = 0; k < (nuint)cosines.Length; k++)
        {
            ref double before = ref Unsafe.Subtract(ref last, Panel);
            Vector512<double> cosine = Vector512.Create(Unsafe.Add(ref c, k)), sine = Vector512.Create(Unsafe.Add(ref s, k));
            Vector512<double> nextLeft = Vector512.LoadUnsafe(ref before), nextRight = Vector512.LoadUnsafe(ref before, 8);
            Vector512.FusedMultiplyAdd(cosine, left, sine * nextLeft).StoreUnsafe(ref last);
            Vector512.FusedMultiplyAdd(cosine, right, sine * nextRight).StoreUnsafe(ref last, 8);
            left = Vector512.FusedMultiplyAdd(-sine, left, cosine * nextLeft);
            right = Vector512.FusedMultiplyAdd(-sine, right, cosine * nextRight);
            last = ref before;
        }

        left.StoreUnsafe(ref last);
        right.StoreUnsafe(ref last, 8);
    }
}
