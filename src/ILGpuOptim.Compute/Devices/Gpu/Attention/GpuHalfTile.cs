using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>An 8 × 4 tile in registers.</summary>
internal struct GpuHalfTile
{
    public Float4 A, B, C, D, E, F, G, H;

    /// <summary>Adds the outer product of a row and a column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(Float4 row, Float4Pair column)
    {
        A = A.Plus(row, column.A);
        B = B.Plus(row, column.B);
        C = C.Plus(row, column.C);
        D = D.Plus(row, column.D);
        E = E.Plus(row, column.E);
        F = F.Plus(row, column.F);
        G = G.Plus(row, column.G);
        H = H.Plus(row, column.H);
    }

    /// <summary>Multiplies each row by a factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Scale(Float4Pair factors)
    {
        A *= factors.A;
        B *= factors.B;
        C *= factors.C;
        D *= factors.D;
        E *= factors.E;
        F *= factors.F;
        G *= factors.G;
        H *= factors.H;
    }

    /// <summary>The maximum of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Largest() => new(A.Largest(), B.Largest(), C.Largest(), D.Largest(), E.Largest(), F.Largest(), G.Largest(), H.Largest());

    /// <summary>The sum of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Sums() => new(A.Sum(), B.Sum(), C.Sum(), D.Sum(), E.Sum(), F.Sum(), G.Sum(), H.Sum());

    /// <summary>Replaces scores s by cap · tanh(s / cap).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Cap(float cap)
    {
        A = A.Capped(cap);
        B = B.Capped(cap);
        C = C.Capped(cap);
        D = D.Capped(cap);
        E = E.Capped(cap);
        F = F.Capped(cap);
        G = G.Capped(cap);
        H = H.Capped(cap);
    }
}
