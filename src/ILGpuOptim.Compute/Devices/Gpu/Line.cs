using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Sixteen neighbouring numbers in one thread. Compilers for processors turn operations on its fields into vector
/// instructions; that needs addresses which are visibly consecutive, so it is loaded through a view of its own.
/// </summary>
internal struct Line
{
    public const int Length = 16;

    private float a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Line Load(ArrayView<float> source, long start)
    {
        ArrayView<float> x = source.SubView(start, Length);
        return new()
        {
            a = x[0],
            b = x[1],
            c = x[2],
            d = x[3],
            e = x[4],
            f = x[5],
            g = x[6],
            h = x[7],
            i = x[8],
            j = x[9],
            k = x[10],
            l = x[11],
            m = x[12],
            n = x[13],
            o = x[14],
            p = x[15],
        };
    }

    /// <summary>this + factor · x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(float factor, Line x)
    {
        a = MathF.FusedMultiplyAdd(factor, x.a, a);
        b = MathF.FusedMultiplyAdd(factor, x.b, b);
        c = MathF.FusedMultiplyAdd(factor, x.c, c);
        d = MathF.FusedMultiplyAdd(factor, x.d, d);
        e = MathF.FusedMultiplyAdd(factor, x.e, e);
        f = MathF.FusedMultiplyAdd(factor, x.f, f);
        g = MathF.FusedMultiplyAdd(factor, x.g, g);
        h = MathF.FusedMultiplyAdd(factor, x.h, h);
        i = MathF.FusedMultiplyAdd(factor, x.i, i);
        j = MathF.FusedMultiplyAdd(factor, x.j, j);
        k = MathF.FusedMultiplyAdd(factor, x.k, k);
        l = MathF.FusedMultiplyAdd(factor, x.l, l);
        m = MathF.FusedMultiplyAdd(factor, x.m, m);
        n = MathF.FusedMultiplyAdd(factor, x.n, n);
        o = MathF.FusedMultiplyAdd(factor, x.o, o);
        p = MathF.FusedMultiplyAdd(factor, x.p, p);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(ArrayView<float> target, long start)
    {
        ArrayView<float> x = target.SubView(start, Length);
        x[0] = a;
        x[1] = b;
        x[2] = c;
        x[3] = d;
        x[4] = e;
        x[5] = f;
        x[6] = g;
        x[7] = h;
        x[8] = i;
        x[9] = j;
        x[10] = k;
        x[11] = l;
        x[12] = m;
        x[13] = n;
        x[14] = o;
        x[15] = p;
    }
}
