using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Cpu;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>Random factors in some storage, rows wider than needed, and what the product should be.</summary>
internal sealed unsafe class GemmProblem : IDisposable
{
    /// <summary>What C holds where a product must not write.</summary>
    public const float Untouched = -777.25f;

    private readonly int m, n, k;
    private readonly GemmMatrix a, b;
    private readonly float* c;
    private readonly float[] old;

    public GemmProblem(int m, int n, int k, bool transposeA, bool transposeB, int padding = 0, DType typeA = DType.F32, DType typeB = DType.F32)
    {
        (this.m, this.n, this.k) = (m, n, k);
        Random random = new(m * 7919 + n * 104729 + k);
        a = new GemmMatrix(random, transposeA ? k : m, transposeA ? m : k, padding, typeA, transposeA);
        b = new GemmMatrix(random, transposeB ? n : k, transposeB ? k : n, padding, typeB, transposeB);
        StrideC = n + padding;
        c = (float*)NativeMemory.Alloc((nuint)(m * StrideC + 1), sizeof(float));
        Result.Fill(Untouched);
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
                c[(long)i * StrideC + j] = random.NextSingle() - 0.5f;
        }

        old = Result.ToArray();
    }

    public GemmOperand A => a.Operand;

    public GemmOperand B => b.Operand;

    public int StrideC { get; }

    public float* Pointer => c;

    public Span<float> Result => new(c, m * StrideC);

    public float C(int i, int j) => c[(long)i * StrideC + j];

    public void SetA(int i, int p, float value) => a.Set(a.Operand.Transposed ? p : i, a.Operand.Transposed ? i : p, value);

    public void SetB(int p, int j, float value) => b.Set(b.Operand.Transposed ? j : p, b.Operand.Transposed ? p : j, value);

    public void FillC(float value) => Result.Fill(value);

    public void Run(CpuGemm gemm, int bits, float alpha, float beta) => Run(gemm, bits, alpha, beta, default(Nothing));

    public void Run<E>(CpuGemm gemm, int bits, float alpha, float beta, E epilogue) where E : struct, IGemmEpilogue =>
        Invoke(gemm, bits, A, B, new GemmResult { Data = c, Stride = StrideC }, 1, m, n, k, alpha, beta, ref epilogue);

    public void AssertExact(float alpha, float beta, float added = 0)
    {
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
                AssertElement(i, j, C(i, j) - added, alpha, beta);
            for (int j = n; j < StrideC; j++)
                Assert.Equal(Untouched, C(i, j));
        }
    }

    public void AssertElement(int i, int j, float actual, float alpha, float beta)
    {
        double sum = 0, size = 0;
        double[] row = a.Line(i, !a.Operand.Transposed), column = b.Line(j, b.Operand.Transposed);
        for (int p = 0; p < k; p++)
        {
            double product = row[p] * column[p];
            sum += product;
            size += Math.Abs(product);
        }

        double before = beta == 0 ? 0 : beta * (double)old[(long)i * StrideC + j];
        double expected = alpha * sum + before;

        // Each of k additions errs by half a unit in the last place of a partial sum; in random order the errors cancel mostly.
        double bound = 6e-8 * (4 + Math.Sqrt(k)) * (Math.Abs(alpha) * size + Math.Abs(before)) + 3e-7;
        if (!(Math.Abs(actual - expected) <= bound))
            Assert.Fail($"{m}×{n}×{k} [{i},{j}]: {actual}, expected {expected} ± {bound}");
    }

    public void Dispose()
    {
        a.Dispose();
        b.Dispose();
        NativeMemory.Free(c);
    }

    /// <summary>The product in vectors of a width.</summary>
    public static void Invoke<E>(CpuGemm gemm, int bits, in GemmOperand a, in GemmOperand b, in GemmResult c, int batch, int m, int n, int k, float alpha, float beta, ref E epilogue)
        where E : struct, IGemmEpilogue
    {
        if (bits == 512)
            gemm.Run<F16, E>(a, b, c, batch, m, n, k, alpha, beta, ref epilogue);
        else if (bits == 256)
            gemm.Run<F8, E>(a, b, c, batch, m, n, k, alpha, beta, ref epilogue);
        else
            gemm.Run<F4, E>(a, b, c, batch, m, n, k, alpha, beta, ref epilogue);
    }

    internal readonly struct Nothing : IGemmEpilogue
    {
        public void Invoke(float* c, int stride, int row, int rows, int column, int columns, int worker)
        {
        }
    }
}
