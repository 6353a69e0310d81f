using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Tiles of attention in shared memory: rows of a head, padded with zeros to multiples of 16 columns, and the fragments that a lane loads from them.
/// <para>
/// A row is a number of 16-byte units. If eight rows start at the same bank, unit u of row r lies at u ^ (r mod 8), else rows are padded by one unit if their number of units is even. Eight
/// adjacent rows of one unit, which <c>ldmatrix</c> reads at once, then lie in different banks, and so do the words of a transposed tf32 fragment.
/// </para>
/// </summary>
internal readonly struct GpuTensorRows<P> where P : struct, IGpuFactor
{
    /// <summary>Rows, and columns, of one fragment's tile.</summary>
    public const int Side = 16;

    private readonly int columns, left, right;

    /// <param name="columns">Columns of a head, divided by 16 and rounded up.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuTensorRows(int columns)
    {
        this.columns = columns;
        int lane = Group.IdxX & 31;
        left = LeftOf(lane, P.Bytes, columns);
        right = RightOf(lane, P.Bytes, columns);
    }

    /// <summary>Bytes from row to row.</summary>
    public int Pitch => PitchOf(P.Bytes, columns);

    /// <summary>Fragments of 32 bytes in a row.</summary>
    public int Steps => columns * P.Bytes / 2;

    /// <summary>Starts to copy rows to shared memory; missing rows and columns become zeros.</summary>
    /// <param name="tile">The tile's address in shared memory.</param>
    /// <param name="data">The operand.</param>
    /// <param name="start">The element at which the first row starts.</param>
    /// <param name="stride">Elements from row to row.</param>
    /// <param name="height">Rows of the tile.</param>
    /// <param name="count">Rows that exist.</param>
    /// <param name="size">Elements of a row that exist; whole units.</param>
    /// <param name="threads">Threads of the group.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Copy(int tile, ArrayView<byte> data, long start, int stride, int height, int count, int size, int threads)
    {
        long source = GpuTensorCores.GlobalAddress(ref data[0]) + start * P.Bytes;
        for (int row = Group.IdxX >> 3; row < height; row += threads >> 3)
        {
            for (int unit = Group.IdxX & 7; unit < columns * P.Bytes; unit += 8)
                GpuTensorCores.CopyAsync(tile + PlaceOf(row, unit, P.Bytes, columns), source + (long)row * stride * P.Bytes + unit * 16, row < count && unit * 16 < size * P.Bytes ? 16 : 0);
        }
    }

    /// <summary>The left factor's fragment of 16 rows and 32 bytes of the summed dimension.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Words4 Left(int tile, int step) => P.Rounded(GpuTensorCores.LoadMatrices(At(tile + left, step)));

    /// <summary>The right factor's fragments of 16 rows, which are the columns of the product, and 32 bytes of the summed dimension.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Words4 Right(int tile, int step) => P.Rounded(GpuTensorCores.LoadMatrices(At(tile + right, step)));

    /// <summary>Adds weights, 16 × 16, times 16 rows of a tile, in 16 columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddAcross(ref GpuTensorSquare sum, GpuTensorLeft weights, int tile, int column)
    {
        if (P.Bytes == 2)
        {
            sum.Add<P>(weights.A, GpuTensorCores.LoadTransposed(At(tile + left, column)));
            return;
        }

        // A lane has the weights of rows 2t and 2t + 1 where the instruction sums over t and t + 4: the order of a sum's terms is free.
        int across = AcrossOf(Group.IdxX & 31, P.Bytes, columns), low = At(tile + across, 2 * column), high = At(tile + across, 2 * column + 1);
        sum.Add<P>(weights.A, Words(low, high));
        sum.Add<P>(weights.B, Words(low + 8 * Pitch, high + 8 * Pitch));
    }

    /// <summary>Bytes from row to row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int PitchOf(int bytes, int columns) => (columns * bytes + (Permutes(bytes, columns) ? 0 : 1)) * 16;

    /// <summary>The byte of a unit in a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int PlaceOf(int row, int unit, int bytes, int columns) => row * PitchOf(bytes, columns) + (Permutes(bytes, columns) ? unit ^ row & 7 : unit) * 16;

    /// <summary>The byte where a lane reads the first fragment of a left factor, and of a transposed bf16 right factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int LeftOf(int lane, int bytes, int columns) => PlaceOf(lane & 15, lane >> 4, bytes, columns);

    /// <summary>The byte where a lane reads the first fragments of a right factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RightOf(int lane, int bytes, int columns) => PlaceOf((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1, bytes, columns);

    /// <summary>The byte of the first word that a lane reads of a transposed tf32 right factor: row 2 (lane mod 4), column lane / 4.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int AcrossOf(int lane, int bytes, int columns) => PlaceOf(2 * (lane & 3), lane >> 4, bytes, columns) + (lane >> 2 & 3) * 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Permutes(int bytes, int columns) => (columns * bytes & 7) == 0;

    /// <summary>An address, moved by <paramref name="step"/> times 32 bytes within its row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int At(int address, int step) => Permutes(P.Bytes, columns) ? (address ^ (step & 3) * 32) + (step >> 2) * 128 : address + step * 32;

    /// <summary>Two adjacent rows of the column at each address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Words4 Words(int low, int high) =>
        P.Rounded(new Words4(GpuTensorCores.LoadShared(low), GpuTensorCores.LoadShared(Next(low)), GpuTensorCores.LoadShared(high), GpuTensorCores.LoadShared(Next(high))));

    /// <summary>The odd row behind an even one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Next(int address) => Permutes(P.Bytes, columns) ? address + Pitch ^ 16 : address + Pitch;
}

/// <summary>The sums of 16 × 16 in one lane: columns 0 and 8.</summary>
internal struct GpuTensorSquare
{
    public Float4 A, B;

    /// <summary>Adds the products of 16 rows of a left and 16 columns of a right factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<P>(Words4 left, Words4 right) where P : struct, IGpuFactor
    {
        A = P.Multiply(A, left, right.A, right.B);
        B = P.Multiply(B, left, right.C, right.D);
    }

    /// <summary>The products of elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GpuTensorSquare operator *(GpuTensorSquare x, GpuTensorSquare y) => new() { A = x.A * y.A, B = x.B * y.B };

    /// <summary>Multiplies the lane's upper row, one of 0 to 7, and the lower row, eight below.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scale(float upper, float lower)
    {
        A = new Float4(A.A * upper, A.B * upper, A.C * lower, A.D * lower);
        B = new Float4(B.A * upper, B.B * upper, B.C * lower, B.D * lower);
    }
}

/// <summary>16 × 16 weights as a left factor: one fragment in bf16, or two of eight columns in tf32.</summary>
internal struct GpuTensorLeft
{
    public Words4 A, B;
}

/// <summary>The sums of 16 rows and up to 128 columns in one lane, in squares; how many are used is a constant of the kernel.</summary>
internal struct GpuTensorSums
{
    public GpuTensorSquare A, B, C, D, E, F, G, H;

    /// <summary>Adds weights, 16 × 16, times 16 rows of a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<P>(GpuTensorRows<P> rows, GpuTensorLeft weights, int tile, int columns) where P : struct, IGpuFactor
    {
        rows.AddAcross(ref A, weights, tile, 0);
        if (columns > 1)
            rows.AddAcross(ref B, weights, tile, 1);
        if (columns > 2)
            rows.AddAcross(ref C, weights, tile, 2);
        if (columns > 3)
            rows.AddAcross(ref D, weights, tile, 3);
        if (columns > 4)
            rows.AddAcross(ref E, weights, tile, 4);
        if (columns > 5)
            rows.AddAcross(ref F, weights, tile, 5);
        if (columns > 6)
            rows.AddAcross(ref G, weights, tile, 6);
        if (columns > 7)
            rows.AddAcross(ref H, weights, tile, 7);
    }

    /// <summary>Multiplies the lane's upper and lower row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scale(float upper, float lower, int columns)
    {
        A.Scale(upper, lower);
        if (columns > 1)
            B.Scale(upper, lower);
        if (columns > 2)
            C.Scale(upper, lower);
        if (columns > 3)
            D.Scale(upper, lower);
        if (columns > 4)
            E.Scale(upper, lower);
        if (columns > 5)
            F.Scale(upper, lower);
        if (columns > 6)
            G.Scale(upper, lower);
        if (columns > 7)
            H.Scale(upper, lower);
    }
}
