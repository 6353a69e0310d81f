using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Products of matrices, vectors, and batches of matrices, by NumPy's rules.</summary>
public static class MatMulOp
{
    /// <summary>
    /// a · b over the last two axes. The axes before them are broadcast to each other. A vector is a row as the first factor and a column as the second;
    /// the result lacks its axis.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="a">…×m×k, or k.</param>
    /// <param name="b">…×k×n, or k.</param>
    /// <param name="transposeA">a is …×k×m.</param>
    /// <param name="transposeB">b is …×n×k.</param>
    /// <returns>…×m×n.</returns>
    /// <exception cref="ArgumentException">The sizes do not fit.</exception>
    public static Tensor MatMul(this Tape tape, Tensor a, Tensor b, bool transposeA = false, bool transposeB = false)
    {
        Shapes.NotNull("MatMul", a);
        Shapes.NotNull("MatMul", b);
        string pair = $"{a.Text()} and {b.Text()}";
        if (a.Shape.Count == 0 || b.Shape.Count == 0 || (transposeA && a.Shape.Count == 1) || (transposeB && b.Shape.Count == 1))
            throw new ArgumentException($"MatMul: {pair}: {(a.Shape.Count == 0 || b.Shape.Count == 0 ? "a scalar is not a matrix" : "a vector cannot be transposed")}");
        (int[] batchA, int rowsA, int columnsA) = Matrix(a, isRow: true);
        (int[] batchB, int rowsB, int columnsB) = Matrix(b, isRow: false);
        (int m, int k) = transposeA ? (columnsA, rowsA) : (rowsA, columnsA);
        (int inner, int n) = transposeB ? (columnsB, rowsB) : (rowsB, columnsB);
        if (k != inner)
            throw new ArgumentException($"MatMul: {pair}: inner sizes {k} and {inner} differ");
        int[] batch = Shapes.Broadcast("MatMul", batchA, batchB);
        if (Math.Max(Shapes.Length(batch), Math.Max(Shapes.Length(batchA), Shapes.Length(batchB))) > int.MaxValue)
            throw new ArgumentException($"MatMul: {pair}: there are more than 2³¹ - 1 products");
        int count = (int)Shapes.Length(batch), countA = (int)Shapes.Length(batchA), countB = (int)Shapes.Length(batchB);
        a = tape.Wide(a);
        b = tape.Wide(b);

        // A factor is repeated in memory only if it is neither one matrix nor the whole batch.
        if (countA != count && countA != 1)
            (a, countA) = (tape.Expand(a, [.. batch, rowsA, columnsA]), count);
        if (countB != count && countB != 1)
            (b, countB) = (tape.Expand(b, [.. batch, rowsB, columnsB]), count);
        if (countB == 1 && countA == count && !transposeA && (long)m * count <= int.MaxValue)
            (m, count, countA) = (m * count, 1, 1);
        int[] shape = [.. batch, .. a.Shape.Count == 1 ? (ReadOnlySpan<int>)[] : [transposeA ? columnsA : rowsA], .. b.Shape.Count == 1 ? (ReadOnlySpan<int>)[] : [n]];
        Tensor output = tape.Output(Shapes.Result("MatMul", shape), a, b);
        var sizes = new Sizes(m, n, k, count, count != 1 && countA == 1, count != 1 && countB == 1, transposeA, transposeB);
        tape.Device.Gemm(tape.Product(a.Data, b.Data, output.Data, m, n, k) with
        {
            TransposeA = transposeA,
            TransposeB = transposeB,
            Batch = count,
            BatchStrideA = sizes.StrideA,
            BatchStrideB = sizes.StrideB,
            BatchStrideC = sizes.StrideC,
        });
        tape.Record(new Gradient(output, a, b, sizes));
        return output;
    }

    private static (int[] Batch, int Rows, int Columns) Matrix(Tensor x, bool isRow)
    {
        int[] sizes = x.Sizes();
        return sizes.Length == 1 ? ([], isRow ? 1 : sizes[0], isRow ? sizes[0] : 1) : (sizes[..^2], sizes[^2], sizes[^1]);
    }

    /// <summary>A batch of products, in which one factor may be the same matrix for all.</summary>
    private readonly record struct Sizes(int M, int N, int K, int Count, bool SharesA, bool SharesB, bool TransposeA, bool TransposeB)
    {
        public long StrideA => SharesA ? 0 : (long)M * K;

        public long StrideB => SharesB ? 0 : (long)K * N;

        public long StrideC => (long)M * N;
    }

    private sealed class Gradient(Tensor output, Tensor a, Tensor b, Sizes sizes) : Operation(output, a, b)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            (int m, int n, int k, int count, bool sharesA, bool sharesB, bool transposeA, bool transposeB) = sizes;
            if (a.RequiresGradient)
            {
                GemmArguments product = transposeA
                    ? tape.Product(b.Data, gradient, default, k, m, n) with { TransposeA = transposeB, TransposeB = true, BatchStrideA = sizes.StrideB, BatchStrideB = sizes.StrideC }
                    : tape.Product(gradient, b.Data, default, m, k, n) with { TransposeB = !transposeB, BatchStrideA = sizes.StrideC, BatchStrideB = sizes.StrideB };
                Into(tape, a, product with { Batch = count, BatchStrideC = (long)m * k }, sharesA);
            }

            if (b.RequiresGradient)
            {
                GemmArguments product = transposeB
                    ? tape.Product(gradient, a.Data, default, n, k, m) with { TransposeA = true, TransposeB = transposeA, BatchStrideA = sizes.StrideC, BatchStrideB = sizes.StrideA }
                    : tape.Product(a.Data, gradient, default, k, n, m) with { TransposeA = !transposeA, BatchStrideA = sizes.StrideA, BatchStrideB = sizes.StrideC };
                Into(tape, b, product with { Batch = count, BatchStrideC = (long)k * n }, sharesB);
            }
        }

        /// <summary>Adds products to a factor's gradient: each to its own matrix, or the sum of all where they share the factor.</summary>
        private static void Into(Tape tape, Tensor factor, in GemmArguments product, bool isShared)
        {
            Block target = tape.GradientOf(factor, out float beta);
            if (!isShared)
            {
                tape.Device.Gemm(product with { C = target, Beta = beta });
                return;
            }

            if (product.Batch == 0 && beta == 0)
                tape.Device.Fill(target, 0);

            // Some products at a time, as all of a large batch would take the batch's multiple of the factor's memory.
            int chunk = (int)Math.Clamp(tape.Device.ChunkLength / Math.Max(1, factor.Length), 1, Math.Max(1, product.Batch));
            Block each = tape.Scratch(chunk * factor.Length);
            for (int first = 0; first < product.Batch; first += chunk)
            {
                int count = Math.Min(chunk, product.Batch - first);
                tape.Device.Gemm(product with { A = From(product.A, first * product.BatchStrideA), B = From(product.B, first * product.BatchStrideB), C = each, Batch = count });
                tape.Device.Map(new TotalRule(), count, factor.Length, each, Operand.PerColumn(target) with { Accumulate = first > 0 || beta != 0 });
            }

            tape.Release(each);

            static Block From(in Block block, long start) => block.Slice(start, block.Length - start);
        }
    }
}
