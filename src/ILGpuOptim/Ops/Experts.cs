using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The weighted sum of a mixture of experts.</summary>
public static class ExpertsOp
{
    /// <summary>
    /// y[t] = Σ s_e · expert_e(x[t]) over the experts that token t chose. Experts are added in ascending order, so that results do not depend on
    /// the number of threads.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="choice">Which expert computes which tokens, with the weights s.</param>
    /// <param name="results">Of each expert, for its tokens in ascending order: <see cref="RouterChoice.CountOf"/> × columns. Null for an expert without tokens that was not computed.</param>
    /// <param name="columns">Columns of the results.</param>
    /// <returns>tokens × columns.</returns>
    /// <exception cref="ArgumentException">A result is missing or has another shape.</exception>
    public static Tensor ExpertSum(this Tape tape, RouterChoice choice, IReadOnlyList<Tensor?> results, int columns)
    {
        if (results.Count != choice.Experts)
            throw new ArgumentException($"{results.Count} results of {choice.Experts} experts", nameof(results));
        int most = 0;
        for (int expert = 0; expert < results.Count; expert++)
        {
            int count = choice.CountOf(expert);
            most = Math.Max(most, count);
            if (results[expert] is { } result ? result.Length != (long)count * columns || (count > 0 && result.Columns != columns) : count > 0)
                throw new ArgumentException($"expert {expert} computes {count} tokens of {columns} columns; its result is {results[expert]?.ToString() ?? "missing"}", nameof(results));
        }

        Device device = tape.Device;
        Tensor output = tape.Output([choice.Tokens, columns], [choice.Weights, .. results]);
        device.Fill(output.Data, 0);
        Block scaled = tape.Scratch((long)most * columns);
        for (int expert = 0; expert < results.Count; expert++)
        {
            int count = choice.CountOf(expert);
            if (count == 0)
                continue;
            Block rows = scaled.Slice(0, (long)count * columns);
            device.Map(new ProductRule(), count, columns, results[expert]!.Data, Operand.PerRow(choice.Weights.Data.Slice(choice.StartOf(expert), count)), rows);
            device.ScatterAdd(rows, choice.TokensOf(expert), output.Data, columns);
        }

        tape.Release(scaled);
        tape.Record(new Gradient(output, choice, results, columns));
        return output;
    }

    /// <summary>With g the gradient of y: ∂/∂expert_e(x[t]) = s_e g[t], ∂/∂s_e = g[t] · expert_e(x[t]).</summary>
    private sealed class Gradient(Tensor output, RouterChoice choice, IReadOnlyList<Tensor?> results, int columns) : Operation(output, [choice.Weights, .. results])
    {
        public override void Backward(Tape tape)
        {
            Device device = tape.Device;
            Tensor weights = choice.Weights;
            Operand dots = tape.GradientTarget(weights, Layout.PerRow);
            for (int expert = 0; expert < results.Count; expert++)
            {
                if (results[expert] is not { } result)
                    continue;
                int count = choice.CountOf(expert), start = choice.StartOf(expert);
                Block slopes = tape.Scratch((long)count * columns);
                device.Gather(Output.Gradient!.Value, choice.TokensOf(expert), slopes, columns, accumulate: false);
                device.Map(new RouterOp.DotRule(), count, columns, slopes, result.Data, dots with { Block = dots.Block.Slice(start, count) });

                // Also without tokens: the expert's parameters then get a gradient of zero.
                if (result.RequiresGradient)
                    device.Map(new ProductRule(), count, columns, slopes, Operand.PerRow(weights.Data.Slice(start, count)), tape.GradientTarget(result));
                tape.Release(slopes);
            }
        }
    }
}
