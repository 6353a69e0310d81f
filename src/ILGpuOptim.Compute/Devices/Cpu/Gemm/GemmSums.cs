using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Adds up the parts of a product whose k was split, always in the same order.</summary>
internal unsafe struct GemmSums<L, E> : IWork
    where L : struct, IVectorLane<L>
    where E : struct, IGemmEpilogue
{
    public E Epilogue;
    public float* Partials;
    public float* C;
    public int Parts, Stride, StrideC, M, N, RowsPerItem;
    public float Alpha, Beta;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        int firstRow = index * RowsPerItem, endRow = Math.Min(firstRow + RowsPerItem, M);
        long size = (long)M * Stride;
        L alpha = L.Splat(Alpha), beta = L.Splat(Beta);
        for (int row = firstRow; row < endRow; row++)
        {
            float* source = Partials + (long)row * Stride;
            float* c = C + (nint)row * StrideC;
            int j = 0;
            for (; j <= N - L.Count; j += L.Count)
            {
                L sum = L.Load(source + j);
                for (int part = 1; part < Parts; part++)
                    sum += L.Load(source + part * size + j);
                sum *= alpha;
                L.Store(Beta == 0 ? sum : L.Fma(beta, L.Load(c + j), sum), c + j);
            }

            for (; j < N; j++)
            {
                float sum = source[j];
                for (int part = 1; part < Parts; part++)
                    sum += source[part * size + j];
                sum *= Alpha;
                c[j] = Beta == 0 ? sum : MathF.FusedMultiplyAdd(Beta, c[j], sum);
            }
        }

        Epilogue.Invoke(firstRow, endRow - firstRow, 0, N, worker);
    }
}
