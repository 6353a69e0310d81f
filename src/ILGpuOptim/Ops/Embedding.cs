using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Rows of a table by index.</summary>
public static class EmbeddingOp
{
    /// <summary>
    /// result[i] = table[indices[i]] + addend[i]. The gradient of the table adds equal indices in order.
    /// </summary>
    /// <param name="tape">Where to record.</param>
    /// <param name="table">rows × columns.</param>
    /// <param name="indices">n row numbers, each within the table.</param>
    /// <param name="addend">n × columns, or null.</param>
    /// <param name="padding">A row that lookups pass no gradient to; null: none.</param>
    /// <returns>n × columns.</returns>
    public static Tensor Embedding(this Tape tape, Tensor table, Block indices, Tensor? addend = null, int? padding = null)
    {
        int count = (int)indices.Length, columns = table.Columns;
        Tensor output = tape.Output([count, columns], table, addend);
        if (addend is not null)
            tape.Device.Copy(addend.Data, output.Data);
        tape.Device.Gather(table.Data, indices, output.Data, columns, accumulate: addend is not null);
        tape.Record(new Gradient(output, table, indices, addend, padding));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor table, Block indices, Tensor? addend, int? padding) : Operation(output, table, addend)
    {
        public override void Backward(Tape tape)
        {
            if (table.RequiresGradient)
            {
                Block target = tape.GradientOf(table, out float beta);
                if (beta == 0)
                    tape.Device.Fill(target, 0);
                if (padding is { } row)
                    AddAllBut(tape, target, row);
                else
                    tape.Device.ScatterAdd(Output.Gradient!.Value, indices, target, table.Columns);
            }

            if (addend is not null)
                tape.PassGradient(Output, addend);
        }

        /// <summary>Adds to every row, then gives one its old numbers back.</summary>
        private void AddAllBut(Tape tape, in Block target, int row)
        {
            Block kept = target.Slice((long)row * table.Columns, table.Columns), before = tape.Scratch(table.Columns);
            tape.Device.Copy(kept, before);
            tape.Device.ScatterAdd(Output.Gradient!.Value, indices, target, table.Columns);
            tape.Device.Copy(before, kept);
            tape.Release(before);
        }
    }
}
