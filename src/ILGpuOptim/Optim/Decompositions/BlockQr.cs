using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// Orthonormal rows in the order of given ones, as QR of the transposed matrix gives them up to signs: block Gram–Schmidt, repeated (Barlow and Smoktunowicz,
/// "Reorthogonalized block classical Gram–Schmidt", Numer. Math. 2013), with Cholesky-QR of panels of 64 rows (Fukaya et al., "Shifted Cholesky QR", SIAM J.
/// Sci. Comput. 2020). All products run on the device; only the Gram matrix of a panel is copied to the host. A block of few elements is copied as a whole and
/// orthonormalised in double precision: one transfer each way takes less time than the launches, and loses no digits to cancellation.
/// </summary>
/// <remarks>Rows of zeros become unit vectors; with keepsZero, a matrix of zeros stays unchanged. Rows that depend on those before them become any direction that is orthogonal to the rest.</remarks>
internal sealed class BlockQr
{
    private const int Panel = 64, MaxPasses = 8;

    /// <summary>A Gram matrix this close to the identity needs one more pass at most.</summary>
    private const double Nearly = 1e-2;

    private const double Shift = 1e-6, MinPivot = 1e-5;

    /// <summary>Below this fraction of a row, what is left of it beside those before is noise.</summary>
    private const double Vanishing = 1e-12;

    /// <summary>The largest number of elements that is orthonormalised on the host.</summary>
    private const int Few = 1 << 14;

    private readonly float[] gram = new float[Panel * Panel], few = new float[Few];
    private readonly double[] wide = new double[Few];
    private readonly double[] lower = new double[Panel * Panel], inverse = new double[Panel * Panel];

    /// <summary>Replaces rows by orthonormal ones.</summary>
    /// <param name="device">The device of the rows.</param>
    /// <param name="rows">count × length elements.</param>
    /// <param name="count">Number of rows, at most <paramref name="length"/>.</param>
    /// <param name="length">Elements of a row.</param>
    /// <param name="keepsZero">Leaves a matrix of zeros unchanged.</param>
    /// <exception cref="UserException">An element is not finite.</exception>
    public void Orthonormalise(Device device, Block rows, int count, int length, bool keepsZero = false)
    {
        if ((long)count * length <= Few)
        {
            OnHost(device, rows, count, length, keepsZero);
            return;
        }

        int widest = Math.Min(Panel, count);
        MemoryPool pool = device.Pool;
        Block products = pool.Rent((long)widest * widest), factor = pool.Rent((long)widest * widest), spare = pool.Rent((long)widest * length), shares = pool.Rent((long)widest * count);
        bool isZero = keepsZero && IsZero(device, rows.Slice(0, (long)count * length));
        for (int first = 0; first < count; first += Panel)
        {
            int width = Math.Min(Panel, count - first);
            Block panel = rows.Slice((long)first * length, (long)width * length), before = rows.Slice(0, (long)first * length);
            Block square = products.Slice(0, (long)width * width), triangle = factor.Slice(0, square.Length), other = spare.Slice(0, panel.Length);
            for (int pass = 0; pass < MaxPasses; pass++)
            {
                if (first > 0)
                {
                    Block share = shares.Slice(0, (long)width * first);
                    device.Gemm(new GemmArguments(panel, before, share, width, first, length) { TransposeB = true });
                    device.Gemm(new GemmArguments(share, before, panel, width, length, first) { Alpha = -1, Beta = 1 });
                }

                Measure(device, panel, square, width, length);
                if (pass == 0 && !isZero && FillZeros(device, panel, first, width, length))
                    continue; // unit vectors are not orthogonal to the rows before
                double error = Deviation(width, out double trace);
                if (trace == 0)
                    break;
                bool isSafe = Factor(width, 0);
                if (!isSafe)
                {
                    // Noise of the size of rounding errors gives rows that depend on others a direction of their own.
                    device.Random(other, RandomKind.Normal, (float)(1e-7 * Math.Sqrt(trace / panel.Length)), (ulong)first, (ulong)pass);
                    device.Map(new AddRule(), 1, panel.Length, panel, other);
                    Factor(width, Shift * trace);
                }

                Invert(width);
                device.Upload(gram.AsSpan(0, width * width), triangle);
                device.Gemm(new GemmArguments(triangle, panel, other, width, length, width));
                device.Copy(other, panel);
                if (isSafe && error <= Nearly)
                    break;
            }
        }

        foreach (Block block in (ReadOnlySpan<Block>)[products, factor, spare, shares])
            pool.Return(block);
    }

    /// <summary>Gram–Schmidt, twice, in double precision.</summary>
    private void OnHost(Device device, Block rows, int count, int length, bool keepsZero)
    {
        Span<float> host = few.AsSpan(0, count * length);
        Span<double> all = wide.AsSpan(0, host.Length);
        device.Download(rows, host);
        if (keepsZero && !host.ContainsAnyExcept(0f))
            return;
        for (int i = 0; i < host.Length; i++)
            all[i] = host[i];
        for (int i = 0; i < count; i++)
        {
            Span<double> row = all.Slice(i * length, length);
            double size = Math.Sqrt(Tridiagonal.Dot(row, row));
            if (!double.IsFinite(size))
                throw NotFinite();
            if (size == 0)
                row[i] = (float)(size = 1);
            SymmetricEigen.Orthogonalise(all[..(i * length)], row);
            for (ulong attempt = 0; SymmetricEigen.Normalise(row) <= Vanishing * size; attempt++)
            {
                SymmetricEigen.FillRandom(row, (ulong)i + attempt * (ulong)length);
                SymmetricEigen.Orthogonalise(all[..(i * length)], row);
                size = 0;
            }
        }

        for (int i = 0; i < host.Length; i++)
            host[i] = (float)all[i];
        device.Upload(host, rows);
    }

    private static UserException NotFinite() => new("a matrix of the optimizer is not finite, so it has no orthonormal basis; lower the learning rate or clip gradients");

    /// <summary>The Gram matrix of a panel, on the host.</summary>
    private void Measure(Device device, Block panel, Block square, int width, int length)
    {
        device.Gemm(new GemmArguments(panel, panel, square, width, width, length) { TransposeB = true });
        device.Download(square, gram.AsSpan(0, width * width));
    }

    private static bool IsZero(Device device, Block values)
    {
        Block sum = device.Pool.Rent(1);
        device.Map(new SquaresRule(), 1, values.Length, values, Operand.Scalar(sum));
        float square = 0;
        device.Download(sum, new Span<float>(ref square));
        device.Pool.Return(sum);
        return square == 0;
    }

    /// <summary>Replaces rows of zeros by the unit vectors of their positions.</summary>
    private bool FillZeros(Device device, Block panel, int first, int width, int length)
    {
        bool any = false;
        for (int i = 0; i < width; i++)
        {
            if (gram[i * width + i] != 0)
                continue;
            device.Fill(panel.Slice((long)i * length + first + i, 1), 1);
            any = true;
        }

        return any;
    }

    /// <summary>The largest difference of the Gram matrix from the identity.</summary>
    private double Deviation(int width, out double trace)
    {
        double error = 0;
        trace = 0;
        for (int i = 0; i < width; i++)
        {
            trace += gram[i * width + i];
            for (int j = 0; j < width; j++)
                error = Math.Max(error, Math.Abs(gram[i * width + j] - (i == j ? 1.0 : 0)));
        }

        return double.IsFinite(trace) ? error : throw NotFinite();
    }

    /// <summary>L with L Lᵀ = gram + shift; false when too little of a row is left beside those before it.</summary>
    private bool Factor(int size, double shift)
    {
        for (int i = 0; i < size; i++)
        {
            Span<double> row = lower.AsSpan(i * size, i + 1);
            for (int j = 0; j < i; j++)
                row[j] = (gram[i * size + j] - Tridiagonal.Dot(row[..j], lower.AsSpan(j * size, j))) / lower[j * size + j];
            double pivot = gram[i * size + i] + shift - Tridiagonal.Dot(row[..i], row[..i]);
            if (shift == 0 && pivot <= MinPivot * gram[i * size + i])
                return false;
            row[i] = Math.Sqrt(Math.Max(pivot, shift));
        }

        return true;
    }

    /// <summary>Writes L⁻¹ in the place of the Gram matrix.</summary>
    private void Invert(int size)
    {
        Span<double> all = inverse.AsSpan(0, size * size);
        all.Clear();
        for (int i = 0; i < size; i++)
        {
            Span<double> row = all.Slice(i * size, i + 1);
            row[i] = 1;
            for (int j = 0; j < i; j++)
                Tridiagonal.AddScaled(-lower[i * size + j], all.Slice(j * size, j + 1), row[..(j + 1)]);
            for (int j = 0; j <= i; j++)
                row[j] /= lower[i * size + i];
        }

        for (int i = 0; i < all.Length; i++)
            gram[i] = (float)all[i];
    }
}
