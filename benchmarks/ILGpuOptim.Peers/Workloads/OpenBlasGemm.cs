using System.Runtime.InteropServices;

namespace PeerBenchmarks.Workloads;

/// <summary>Matrix products by OpenBLAS.</summary>
internal sealed unsafe partial class OpenBlasGemm : Workload
{
    private const string Library = "libopenblas.so.0";
    private const int RowMajor = 101, AsStored = 111, Transposed = 112;

    private GemmShape shape = GemmShape.All[0];
    private float* a, b, c;

    public OpenBlasGemm() => openblas_set_num_threads(Threads);

    public override string Description => Marshal.PtrToStringUTF8(openblas_get_config())!;

    public override void Prepare(string @case)
    {
        Free();
        shape = GemmShape.Named(@case);
        a = Allocate(shape.M, shape.K);
        b = Allocate(shape.K, shape.N);
        c = Allocate(shape.M, shape.N);
    }

    public override void Run() => cblas_sgemm(
        RowMajor, shape.TransposeA ? Transposed : AsStored, shape.TransposeB ? Transposed : AsStored, shape.M, shape.N, shape.K,
        1, a, shape.TransposeA ? shape.M : shape.K, b, shape.TransposeB ? shape.K : shape.N, 0, c, shape.N);

    public override void Dispose() => Free();

    private static float* Allocate(int rows, int columns)
    {
        int count = rows * columns;
        var block = (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 64);
        var random = new Random(1);
        for (int i = 0; i < count; i++)
            block[i] = random.NextSingle();
        return block;
    }

    private void Free()
    {
        NativeMemory.AlignedFree(a);
        NativeMemory.AlignedFree(b);
        NativeMemory.AlignedFree(c);
        a = b = c = null;
    }

    [LibraryImport(Library)]
    private static partial void cblas_sgemm(
        int order, int transposeA, int transposeB, int m, int n, int k,
        float alpha, float* a, int strideA, float* b, int strideB, float beta, float* c, int strideC);

    [LibraryImport(Library)]
    private static partial void openblas_set_num_threads(int count);

    [LibraryImport(Library)]
    private static partial nint openblas_get_config();
}
