using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Adds up the parts of a product whose k was split, always in the same order.</summary>
internal unsafe struct GemmSums<L, E> : IWork
    where L : struct, IVectorLane<L>
    where E : struct, IGemmEpilogue
{
    public E Epilogue;
    public float* Partials;
    public GemmResult C;
    public int Parts, Stride, M, N, RowsPerItem;
    public float Alpha, Beta;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        int firstRow = index * RowsPerItem, endRow = Math.Min(firstRow + RowsPerItem, M);
        long size = (long)M * Stride;
        L alpha = L.Splat(Alpha), beta = L.Splat(Beta);

        // Sums that C does not hold replace those of the first part. Old values of C come behind the last part.
        bool inPlace = C.Narrow == null;
        float* results = inPlace ? C.Data : Partials, olds = inPlace ? C.Data : Partials + Parts * size;
        int stride = inPlace ? C.Stride : Stride;
        if (!inPlace && Beta != 0)
            C.Widen(firstRow, endRow - firstRow, 0, N, olds + (nint)firstRow * stride, stride);
        for (int row = firstRow; row < endRow; row++)
        {
            float* source = Partials + (long)row * Stride;
            float* c = results + (nint)row * stride, old = olds + (nint)row * stride;
            int j = 0;
            for (; j <= N - L.Count; j += L.Count)
            {
                L sum = L.Load(source + j);
                for (int part = 1; part < Parts; part++)
                    sum += L.Load(source + part * size + j);
                sum *= alpha;
                L.Store(Beta == 0 ? sum : L.Fma(beta, L.Load(old + j), sum), c + j);
            }

            for (; j < N; j++)
            {
                float sum = source[j];
                for (int part = 1; part < Parts; part++)
                    sum += source[part * size + j];
                sum *= Alpha;
                c[j] = Beta == 0 ? sum : MathF.FusedMultiplyAdd(Beta, old[j], sum);
            }
        }

        Epilogue.Invoke(results + (nint)firstRow * stride, stride, firstRow, endRow - firstRow, 0, N, worker);
    }
}
