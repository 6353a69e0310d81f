using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>
/// The operations of a mixture of experts after <see cref="RouterOp.Route"/>: rows are gathered by expert, each expert multiplies its own rows, and the
/// weighted results are summed for each token. The memory that the tape keeps depends on the number of tokens only, not on their distribution.
/// </summary>
public static class ExpertsOp
{
    /// <summary>The rows of x by slot: those of the first expert's tokens, then the second's, and so on.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="choice">The experts of each token, from <see cref="RouterOp.Route"/>.</param>
    /// <param name="x">tokens × columns.</param>
    /// <returns>slots × columns.</returns>
    /// <exception cref="ArgumentException">x has another number of tokens.</exception>
    public static Tensor ToExperts(this Tape tape, RouterChoice choice, Tensor x)
    {
        CheckRows(nameof(ToExperts), x, choice.Tokens, "tokens");
        x = tape.Floats(x);
        Tensor output = tape.Activation([choice.Slots, x.Columns], x);
        tape.Device.Gather(x.Data, choice.TokensOfSlots, output.Data, x.Columns, accumulate: false);
        tape.Record(new GatherGradient(output, choice, x));
        return output;
    }

    /// <summary>y[s] = [A_e x[s] | B_e x[s] | …] for each slot s of each expert e: the products of one or several weights of every expert, side by side.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="choice">The experts of each token, from <see cref="RouterOp.Route"/>.</param>
    /// <param name="x">slots × inputs.</param>
    /// <param name="weights">A, B, …, each a weight for every expert, outputs × inputs, no two the same tensor. The weights of an expert without slots get a gradient of zero.</param>
    /// <returns>slots × the sum of the outputs.</returns>
    /// <exception cref="ArgumentException">The number of slots or weights, or a weight's shape, differs.</exception>
    public static Tensor ExpertLinear(this Tape tape, RouterChoice choice, Tensor x, params IReadOnlyList<IReadOnlyList<Tensor>> weights)
    {
        CheckRows(nameof(ExpertLinear), x, choice.Slots, "slots");
        int outputs = 0;
        foreach (IReadOnlyList<Tensor> matrices in weights)
        {
            if (matrices.Count != choice.Experts)
                throw new ArgumentException($"ExpertLinear: {matrices.Count} weights of {choice.Experts} experts", nameof(weights));
            foreach (Tensor weight in matrices)
            {
                if (weight.Shape.Count != 2 || weight.Columns != x.Columns || weight.Rows != matrices[0].Rows)
                    throw new ArgumentException($"{ProductShape.Named("ExpertLinear", weight)}: the weight is {weight}, but x is {x} and the first expert's weight is {matrices[0]}", nameof(weights));
            }

            outputs += matrices[0].Rows;
        }

        Tensor?[] inputs = [x, .. weights.SelectMany(matrices => matrices)];
        Tensor output = tape.Activation([choice.Slots, outputs], inputs);
        var products = new Products(choice.Experts * weights.Count);
        int offset = 0;
        foreach (IReadOnlyList<Tensor> matrices in weights)
        {
            for (int e = 0; e < matrices.Count; e++)
            {
                if (choice.CountOf(e) is var count and > 0)
                    products.Add(tape.Product(RowsOf(choice, x.Data, e, x.Columns), matrices[e].Data, RowsOf(choice, output.Data, e, outputs, offset), count, matrices[e].Rows, x.Columns) with { TransposeB = true, StrideC = outputs });
            }

            offset += matrices[0].Rows;
        }

        products.Run(tape.Device);
        tape.Record(new ProductGradient(output, inputs, choice, x, weights));
        return output;
    }

    /// <summary>y[t] = Σ s · x[slot] over the slots of token t, with the weights s of the choice, added from the most to the least probable expert.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="choice">The experts of each token and their weights, from <see cref="RouterOp.Route"/>.</param>
    /// <param name="x">slots × columns.</param>
    /// <returns>tokens × columns.</returns>
    /// <exception cref="ArgumentException">x has another number of slots.</exception>
    public static Tensor FromExperts(this Tape tape, RouterChoice choice, Tensor x)
    {
        CheckRows(nameof(FromExperts), x, choice.Slots, "slots");
        Tensor output = tape.Activation([choice.Tokens, x.Columns], x, choice.Weights);
        Block scaled = tape.Scratch(x.Length), sum = output.Memory.Type == DType.F32 ? output.Data : tape.Scratch(output.Length);
        tape.Device.Map(new ProductRule(), choice.Slots, x.Columns, x.Data, Operand.PerRow(choice.Weights.Data), scaled);
        for (int rank = 0; rank < choice.PerToken; rank++)
            tape.Device.Gather(scaled, choice.SlotsAtRank(rank), sum, x.Columns, accumulate: rank > 0);
        tape.Release(scaled);
        if (output.Memory.Type != DType.F32)
        {
            tape.Device.Copy(sum, output.Data);
            tape.Release(sum);
        }

        tape.Record(new SumGradient(output, choice, x));
        return output;
    }

    private static void CheckRows(string operation, Tensor x, int rows, string name)
    {
        if (x.Shape.Count != 2 || x.Shape[0] != rows)
            throw new ArgumentException($"{operation}: the choice has {rows} {name}; x is {x}", nameof(x));
    }

    /// <summary>The rows of an expert's slots, from a column on.</summary>
    private static Block RowsOf(RouterChoice choice, in Block rows, int expert, int columns, int offset = 0)
    {
        long start = Math.Min(rows.Length, (long)choice.StartOf(expert) * columns + offset), end = (long)(choice.StartOf(expert) + choice.CountOf(expert)) * columns;
        return rows.Slice(start, Math.Max(0, end - start));
    }

    /// <summary>Each token's gradient is the sum of its slots'.</summary>
    private sealed class GatherGradient(Tensor output, RouterChoice choice, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            // Slots are added in f32.
            bool isNarrow = x is not Parameter && x.Memory.Type != DType.F32;
            float beta = 0;
            Block target = isNarrow ? tape.Scratch(x.Length) : tape.GradientOf(x, out beta);
            for (int rank = 0; rank < choice.PerToken; rank++)
                tape.Device.Gather(Output.Gradient!.Value, choice.SlotsAtRank(rank), target, x.Columns, accumulate: rank > 0 || beta != 0);
            if (isNarrow)
            {
                tape.AddToGradient(x, target);
                tape.Release(target);
            }
        }
    }

    private sealed class ProductGradient(Tensor output, Tensor?[] inputs, RouterChoice choice, Tensor x, IReadOnlyList<IReadOnlyList<Tensor>> weights) : Operation(output, inputs)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value, target = default;
            int outputs = Output.Columns, inputs = x.Columns, offset = 0;
            float beta = 0;
            if (x.RequiresGradient)
                target = tape.GradientOf(x, out beta);
            foreach (IReadOnlyList<Tensor> matrices in weights)
            {
                var products = new Products(2 * choice.Experts);
                for (int e = 0; e < matrices.Count; e++)
                {
                    Tensor weight = matrices[e];
                    int count = choice.CountOf(e);
                    Block gradients = RowsOf(choice, gradient, e, outputs, offset);
                    if (weight.RequiresGradient)
                    {
                        // Without slots, a sum of no products: zero.
                        Block sum = tape.GradientOf(weight, out float old);
                        products.Add(tape.Product(gradients, RowsOf(choice, x.Data, e, inputs), sum, weight.Rows, inputs, count) with { TransposeA = true, StrideA = outputs, Beta = old });
                    }

                    if (x.RequiresGradient && count > 0)
                        products.Add(tape.Product(gradients, weight.Data, RowsOf(choice, target, e, inputs), count, inputs, weight.Rows) with { StrideA = outputs, Beta = beta });
                }

                products.Run(tape.Device);
                beta = 1;
                offset += matrices[0].Rows;
            }
        }
    }

    /// <summary>With g the gradient of y: s g[t] for each slot of token t, and g[t] · x[slot] for its weight.</summary>
    private sealed class SumGradient(Tensor output, RouterChoice choice, Tensor x) : Operation(output, x, choice.Weights)
    {
        public override void Backward(Tape tape)
        {
            Block gradients = tape.Scratch(x.Length);
            tape.Device.Gather(Output.Gradient!.Value, choice.TokensOfSlots, gradients, x.Columns, accumulate: false);
            tape.Device.Map(new SumGradientRule(), choice.Slots, x.Columns, gradients, x.Data, Operand.PerRow(choice.Weights.Data), tape.GradientTarget(x), tape.GradientTarget(choice.Weights, Layout.PerRow));
            tape.Release(gradients);
        }
    }

    private readonly struct SumGradientRule : IMap5
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L gradient, ref L x, ref L weight, ref L target, ref L dot) where L : struct, ILane<L>
        {
            target = gradient * weight;
            dot = gradient * x;
        }
    }
}
