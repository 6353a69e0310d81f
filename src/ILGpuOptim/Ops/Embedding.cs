using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Rows of a table by index.</summary>
public static class EmbeddingOp
{
    /// <summary>
    /// result[i] = table[indices[i]] + addend[i]. The gradient of the table adds equal indices in order.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="table">rows × columns.</param>
    /// <param name="indices">n row indices, each within the table.</param>
    /// <param name="addend">n rows of as many columns as the table; the result takes its shape. Or null.</param>
    /// <param name="padding">A row that receives no gradient; null: none.</param>
    /// <returns>n × columns, or the shape of the addend.</returns>
    /// <exception cref="ArgumentException">The table is no matrix, or the addend does not fit.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An index or the padding row lies outside the table. Where a GPU alone knows the indices, the row becomes NaN instead.</exception>
    public static Tensor Embedding(this Tape tape, Tensor table, Block indices, Tensor? addend = null, int? padding = null) =>
        tape.Embedding(table, indices, tape.ActivationType, addend, padding);

    /// <summary>The same, with a result of a type.</summary>
    internal static Tensor Embedding(this Tape tape, Tensor table, Block indices, DType type, Tensor? addend = null, int? padding = null)
    {
        ProductShape.Matrix("Embedding", table);
        int count = checked((int)indices.Length), columns = table.Columns;
        if (addend is not null && (addend.Rows != count || addend.Columns != columns))
            throw new ArgumentException($"{ProductShape.Named("Embedding", table)} makes {count}×{columns}, to which {addend} cannot be added", nameof(addend));
        if (padding is { } row && (uint)row >= (uint)table.Shape[0])
            throw Outside(table, row);
        if (table.Data.Type == DType.I8)
            table = tape.Wide(table);
        addend = addend is null ? null : tape.Floats(addend);
        Tensor output = tape.Typed(type, addend is null ? [count, columns] : addend.Sizes(), table, addend);
        if (addend is not null)
            tape.Device.Copy(addend.Data, output.Data);
        try
        {
            tape.Device.Gather(table.Data, indices, output.Data, columns, accumulate: addend is not null);
        }
        catch (ArgumentOutOfRangeException e) when (e.ActualValue is not null)
        {
            throw Outside(table, e.ActualValue);
        }

        if (output.RequiresGradient)
            tape.Record(new Gradient(output, table, indices, addend, padding));
        return output;
    }

    private static ArgumentOutOfRangeException Outside(Tensor table, object index) =>
        new(nameof(index), index, $"{ProductShape.Named("Embedding", table)} has {table.Shape[0]} rows, there is no row {index}");

    private sealed class Gradient(Tensor output, Tensor table, Block indices, Tensor? addend, int? padding) : Operation(output, table, addend)
    {
        public override void Backward(Tape tape)
        {
            if (table.RequiresGradient)
            {
                // Rows are added in f32, also where those of an activation are stored in bf16.
                bool isNarrow = table is not Parameter && table.Memory.Type != DType.F32;
                float beta = 0;
                Block target = isNarrow ? tape.Scratch(table.Length) : tape.GradientOf(table, out beta);
                if (beta == 0)
                    tape.Device.Fill(target, 0);
                if (padding is { } row)
                    AddAllBut(tape, target, row);
                else
                    tape.Device.ScatterAdd(Output.Gradient!.Value, indices, target, table.Columns);
                if (isNarrow)
                {
                    tape.AddToGradient(table, target);
                    tape.Release(target);
                }
            }

            if (addend is not null)
                tape.PassGradient(Output, addend);
        }

        /// <summary>Adds to every row, then restores the old values of one.</summary>
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
