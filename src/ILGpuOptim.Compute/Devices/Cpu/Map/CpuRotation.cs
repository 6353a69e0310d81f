using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The parallel body of a rotation: some rows, all their heads, while the row's angles are in the cache.</summary>
internal unsafe struct CpuRotation<L> : IWork where L : struct, IVectorLane<L>
{
    private const int RowsOfPiece = 32;

    /// <summary>The rows, f32, or bf16 where there is <see cref="Scratch"/>.</summary>
    public byte* Target;
    public float* Angles;

    /// <summary>Room for <see cref="Width"/> floats of each worker, in which rows of bf16 are rotated; null for f32.</summary>
    public float* Scratch;
    public RotateRule Rule;
    public int Rows, Heads, HeadStep, Size, Stride;

    /// <summary>Elements from the first rotated head of a row to the end of the last.</summary>
    public readonly int Width => Heads == 0 ? 0 : (Heads - 1) * HeadStep + Size;

    public static int Pieces(int rows) => (rows + RowsOfPiece - 1) / RowsOfPiece;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void Invoke(int index, int worker)
    {
        int end = Math.Min(Rows, (index + 1) * RowsOfPiece), half = Size / 2;
        RotateRule rule = Rule;
        for (int row = index * RowsOfPiece; row < end; row++)
        {
            float* cosines = Angles + (long)row * Size;
            float* start = Scratch == null ? (float*)Target + (long)row * Stride : Scratch + (long)worker * Width;
            ushort* narrow = (ushort*)Target + (long)row * Stride;
            if (Scratch != null)
                Bf16.Widen(new ReadOnlySpan<ushort>(narrow, Width), new Span<float>(start, Width));
            for (int head = 0; head < Heads; head++)
            {
                float* x = start + (long)head * HeadStep;
                int i = 0;
                for (; i <= half - L.Count; i += L.Count)
                    RotatePairs<L>(rule, x + i, cosines + i, half);
                for (; i < half; i++)
                    RotatePairs<F1>(rule, x + i, cosines + i, half);
            }

            if (Scratch != null)
                Bf16.Narrow(new ReadOnlySpan<float>(start, Width), new Span<ushort>(narrow, Width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void RotatePairs<V>(RotateRule rule, float* x, float* cosines, int half) where V : struct, IVectorLane<V>
    {
        V first = V.Load(x), second = V.Load(x + half), cosine = V.Load(cosines), sine = V.Load(cosines + half);
        rule.Apply(ref first, ref second, ref cosine, ref sine);
        V.Store(first, x);
        V.Store(second, x + half);
    }
}
