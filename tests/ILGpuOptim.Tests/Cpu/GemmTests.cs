using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Cpu;
using Xunit;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>Products against a double triple loop, with an error bound that follows from the arithmetic: a multiple of Σ|a||b|.</summary>
public sealed unsafe class GemmTests
{
    /// <summary>Sizes on both sides of vectors, register tiles, stretches of k and items.</summary>
    private static readonly (int M, int N, int K)[] shapes =
    [
        (0, 5, 5), (5, 0, 5), (5, 7, 0), (1, 1, 1), (1, 33, 64), (7, 1, 31), (2, 7, 97), (4, 64, 33), (3, 4, 97), (31, 31, 31),
        (33, 33, 33), (64, 97, 7), (97, 64, 1), (8, 48, 16), (9, 49, 17), (16, 96, 400), (65, 17, 130), (7, 97, 4097), (1, 4097, 33),
        (4097, 1, 33), (4097, 7, 31), (31, 4097, 9), (40, 40, 4097), (33, 64, 2051), (97, 130, 770), (130, 200, 391), (300, 130, 64), (40, 130, 1024),
        (70, 65, 401), (31, 50, 400), (90, 66, 7), (33, 13, 64), (17, 18, 900), (130, 1040, 130),
    ];

    public static TheoryData<int, bool, bool> Cases
    {
        get
        {
            TheoryData<int, bool, bool> data = [];
            foreach (int bits in new[] { 128, 256, 512 })
                foreach (bool transposeA in new[] { false, true })
                    foreach (bool transposeB in new[] { false, true })
                        data.Add(bits, transposeA, transposeB);
            return data;
        }
    }

    /// <summary>Products that are taken as one loop have the bits that each has alone, whatever B's type.</summary>
    [Theory]
    [InlineData(1, false)]
    [InlineData(3, false)]
    [InlineData(4, true)]
    [InlineData(6, false)]
    public void ProductsOfAGroupAreThoseOfEach(int rows, bool bf16)
    {
        const int Inputs = 77, Outputs = 130, Stride = 2 * Outputs + 7;
        foreach (int threads in new[] { 1, 2, 3 })
        {
            using CpuDevice device = new(threads);
            Block x = Random(device, rows * Inputs, 1), first = Random(device, Outputs * Inputs, 2), second = Random(device, Outputs * Inputs, 3);
            if (bf16)
            {
                Block narrow = device.Pool.Rent((long)Outputs * Inputs, DType.BF16);
                device.Copy(second, narrow);
                second = narrow;
            }

            Block alone = device.Pool.Rent((long)rows * Stride), together = device.Pool.Rent((long)rows * Stride);
            device.Fill(alone, 0);
            device.Fill(together, 0);
            GemmArguments[] products = [.. new[] { alone, together }.SelectMany(target => new[]
            {
                new GemmArguments(x, first, target, rows, Outputs, Inputs) { TransposeB = true, StrideC = Stride },
                new GemmArguments(x, second, target.Slice(Outputs, target.Length - Outputs), rows, Outputs, Inputs) { TransposeB = true, StrideC = Stride },
            })];
            device.Gemm(products[0]);
            device.Gemm(products[1]);
            device.Gemm(products.AsSpan(2));
            var expected = new float[rows * Stride];
            var actual = new float[rows * Stride];
            device.Download(alone, expected);
            device.Download(together, actual);
            Assert.Equal(expected, actual);
            Assert.Contains(expected, value => value != 0);
        }
    }

    /// <summary>A product to which a matrix is added has the bits of the product followed by the sum, whatever its number of rows.</summary>
    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public void AddingWithinAProductIsAddingAfterIt(int bits)
    {
        const int Inputs = 77, Outputs = 130, StrideC = Outputs + 3, Stride = Outputs + 9;
        using CpuDevice device = new(2, bits);
        for (int rows = 1; rows <= 6; rows++)
        {
            foreach (float beta in new[] { 0f, 0.5f })
            {
                Block x = Random(device, rows * Inputs, 1), weight = Random(device, Outputs * Inputs, 2), added = Random(device, rows * Stride, 3);
                Block apart = Random(device, rows * StrideC, 4), together = device.Pool.Rent((long)rows * StrideC);
                device.Copy(apart, together);
                var product = new GemmArguments(x, weight, apart, rows, Outputs, Inputs) { TransposeB = true, StrideC = StrideC, Alpha = 1.5f, Beta = beta };
                var operand = new Operand(added, Layout.Full, Stride);
                device.Gemm(product);
                device.Map(new AddRule(), rows, Outputs, new Operand(apart, Layout.Full, StrideC), operand);
                device.Gemm(product with { C = together }, new AddRule(), operand);
                var expected = new float[rows * StrideC];
                var actual = new float[rows * StrideC];
                device.Download(apart, expected);
                device.Download(together, actual);
                Assert.Equal(expected, actual);
                foreach (Block block in (Block[])[x, weight, added, apart, together])
                    device.Pool.Return(block);
            }
        }
    }

    private static Block Random(CpuDevice device, int length, ulong seed)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1, seed, 0);
        return block;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void AgreesWithDoubles(int bits, bool transposeA, bool transposeB)
    {
        using WorkerPool pool = new(2);
        using CpuGemm gemm = new(pool);
        int turn = 0;
        foreach ((int m, int n, int k) in shapes)
        {
            (float alpha, float beta) = (turn++ % 4) switch { 0 => (1f, 0f), 1 => (-0.5f, 1f), 2 => (2f, -0.75f), _ => (1f, 1f) };
            using GemmProblem problem = new(m, n, k, transposeA, transposeB, padding: turn % 3 * 5);
            problem.Run(gemm, bits, alpha, beta);
            problem.AssertExact(alpha, beta);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void WidensStoredTypes(int bits, bool transposeA, bool transposeB)
    {
        using WorkerPool pool = new(2);
        using CpuGemm gemm = new(pool);
        foreach (DType typeA in new[] { DType.F32, DType.BF16, DType.I8 })
        {
            foreach (DType typeB in new[] { DType.F32, DType.BF16, DType.I8 })
            {
                foreach ((int m, int n, int k) in new[] { (1, 300, 513), (3, 70, 600), (600, 2, 300), (12, 40, 70), (70, 301, 530), (300, 70, 9), (16, 20, 2100), (40, 900, 400), (700, 66, 400) })
                {
                    using GemmProblem problem = new(m, n, k, transposeA, transposeB, padding: 3, typeA, typeB);
                    problem.Run(gemm, bits, 1, 0);
                    problem.AssertExact(1, 0);
                }
            }
        }
    }

    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public void ThreadsDoNotChangeABit(int bits)
    {
        using WorkerPool one = new(1), two = new(2), three = new(3);
        using CpuGemm first = new(one), second = new(two), third = new(three);
        foreach ((int m, int n, int k) in new[] { (1, 3000, 500), (2000, 3, 500), (200, 100, 900), (768, 65, 128), (65, 128, 768), (100, 120, 9000), (256, 600, 400), (40, 130, 1024), (130, 50, 400), (24, 1000, 800) })
        {
            foreach (bool transpose in new[] { false, true })
            {
                using GemmProblem a = new(m, n, k, transpose, !transpose), b = new(m, n, k, transpose, !transpose), c = new(m, n, k, transpose, !transpose);
                a.Run(first, bits, 1, 0.5f);
                b.Run(second, bits, 1, 0.5f);
                c.Run(third, bits, 1, 0.5f);
                Assert.True(a.Result.SequenceEqual(b.Result) && a.Result.SequenceEqual(c.Result), $"{m} × {n} × {k}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void NaNAndInfinityPropagateAndOldNaNIsNotRead(int bits, bool transposeA, bool transposeB)
    {
        using WorkerPool pool = new(2);
        using CpuGemm gemm = new(pool);
        foreach ((int m, int n, int k) in new[] { (1, 50, 40), (50, 2, 40), (13, 50, 40), (100, 65, 70), (40, 40, 4100) })
        {
            using GemmProblem problem = new(m, n, k, transposeA, transposeB);
            problem.SetA(0, k / 2, float.NaN);
            problem.SetA(m - 1, k - 1, m == 1 ? float.NaN : float.PositiveInfinity);
            for (int j = 0; j < n; j++)
                problem.SetB(k - 1, j, j % 2 == 0 ? 0 : 1);
            problem.FillC(float.NaN);
            problem.Run(gemm, bits, 1, 0);
            for (int i = 0; i < m; i++)
            {
                for (int j = 0; j < n; j++)
                {
                    float value = problem.C(i, j);
                    if (i == 0 || (i == m - 1 && j % 2 == 0))
                        Assert.True(float.IsNaN(value), $"{m}×{n}×{k} [{i},{j}] {value}"); // NaN · 0 and ∞ · 0
                    else if (i == m - 1)
                        Assert.Equal(float.PositiveInfinity, value);
                    else
                        Assert.True(float.IsFinite(value));
                }
            }
        }
    }

    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public void TheEpilogueSeesEachFinalElementOnce(int bits)
    {
        using WorkerPool pool = new(2);
        using CpuGemm gemm = new(pool);
        foreach ((int m, int n, int k) in new[] { (1, 300, 64), (300, 1, 64), (9, 100, 64), (300, 200, 400), (64, 1000, 0), (64, 65, 0), (50, 60, 5000), (700, 65, 128) })
        {
            foreach (bool transpose in new[] { false, true })
            {
                using GemmProblem problem = new(m, n, k, transpose, !transpose);
                int[] visits = new int[m * n];
                problem.Run(gemm, bits, 1, 0, new AddOne(visits, n, problem.Pointer, problem.StrideC));
                Assert.All(visits, v => Assert.Equal(1, v));
                problem.AssertExact(1, 0, added: 1);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void BatchesAreProductsOneByOne(int bits, bool transposeA, bool transposeB)
    {
        using WorkerPool pool = new(2);
        using CpuGemm gemm = new(pool);
        foreach ((int batch, int m, int n, int k) in new[] { (0, 3, 3, 3), (1, 20, 30, 40), (2, 70, 50, 33), (20, 9, 17, 5), (3, 1, 40, 64), (2, 30, 30, 2100), (3, 4, 4, 0) })
        {
            using GemmProblem all = new(batch * m, n, k, false, transposeB), b = new(m, batch * n, k, transposeA, true);
            float* c = (float*)NativeMemory.AllocZeroed((nuint)(batch * m * n + 1), sizeof(float));
            int[] visits = new int[batch * m * n];
            AddOne epilogue = new(visits, n, c, n);

            // Each matrix has rows of its own of A; the second run also has rows of its own of a transposed B.
            GemmOperand a = all.A with { BatchStride = (long)m * all.A.Stride };
            GemmProblem.Invoke(gemm, bits, a, all.B, new GemmResult { Data = c, Stride = n, BatchStride = m * n }, batch, m, n, k, 1, 0, ref epilogue);
            for (int i = 0; i < batch * m; i++)
            {
                for (int j = 0; j < n; j++)
                    all.AssertElement(i, j, c[i * n + j] - 1, 1, 0);
            }

            Assert.All(visits, v => Assert.Equal(1, v));
            GemmOperand manyB = b.B with { BatchStride = (long)n * b.B.Stride };
            GemmProblem.Nothing nothing = default;
            GemmProblem.Invoke(gemm, bits, b.A, manyB, new GemmResult { Data = c, Stride = n, BatchStride = m * n }, batch, m, n, k, 1, 0, ref nothing);
            for (int i = 0; i < m; i++)
            {
                for (int j = 0; j < batch * n; j++)
                    b.AssertElement(i, j, c[(j / n * m + i) * n + j % n], 1, 0);
            }

            NativeMemory.Free(c);
        }
    }

    [Fact]
    public void AProductAllocatesNothingTheSecondTime()
    {
        using WorkerPool pool = new(2);
        using CpuGemm gemm = new(pool);
        using GemmProblem problem = new(100, 100, 100, false, true);
        problem.Run(gemm, 512, 1, 0);
        long before = GC.GetAllocatedBytesForCurrentThread();
        problem.Run(gemm, 512, 1, 0);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private readonly struct AddOne(int[] visits, int n, float* c, int strideC) : IGemmEpilogue
    {
        private readonly float* c = c;

        public void Invoke(float* place, int stride, int row, int rows, int column, int columns, int worker)
        {
            Assert.Equal((nint)(c + (long)row * strideC + column), (nint)place);
            Assert.Equal(strideC, stride);
            for (int i = row; i < row + rows; i++)
            {
                for (int j = column; j < column + columns; j++)
                {
                    Interlocked.Increment(ref visits[i * n + j]);
                    c[(long)i * strideC + j] += 1;
                }
            }
        }
    }
}
