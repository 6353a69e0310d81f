using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Gather, scatter and element access by index.</summary>
internal static class GpuIndexKernels
{
    /// <summary>Threads of a group, and columns that a group copies.</summary>
    public const int Threads = 128;

    /// <summary>Flag: adds rows to the target.</summary>
    public const int Accumulates = 256;

    /// <summary>Flag: the target is bf16.</summary>
    public const int NarrowTarget = 512;

    /// <summary>One group for each <see cref="Threads"/> columns of each index. The form is the table's type, <see cref="Accumulates"/> and <see cref="NarrowTarget"/>. Rows with an index outside the table become NaN.</summary>
    public static void Gather(ArrayView<byte> table, ArrayView<int> indices, ArrayView<byte> target, int columns, int across, int rows, SpecializedValue<int> form)
    {
        int i = Grid.IdxX / across, column = (Grid.IdxX - i * across) * Threads + Group.IdxX;
        if (column >= columns)
            return;
        int index = indices[i];
        long from = (long)index * columns + column, to = (long)i * columns + column;
        float value = (uint)index >= (uint)rows ? float.NaN : Load(table, from, form.Value & 255);
        int type = (form.Value & NarrowTarget) != 0 ? (int)DType.BF16 : (int)DType.F32;
        Store(target, to, (form.Value & Accumulates) != 0 ? Load(target, to, type) + value : value, type);
    }

    /// <summary>
    /// One thread per index: links[i] is the next position of an equal index, or -1; links[n + i] is 1 if
    /// position i is the first of its index and the index is inside the table. Each thread scans; n² / 2 cached reads cost less than a sort.
    /// </summary>
    public static void Link(ArrayView<int> indices, ArrayView<int> links, int n, int rows)
    {
        int i = Grid.IdxX * Threads + Group.IdxX;
        if (i >= n)
            return;
        int index = indices[i], next = i + 1, before = i - 1;
        while (next < n && indices[next] != index)
            next++;
        while (before >= 0 && indices[before] != index)
            before--;
        links[i] = next < n ? next : -1;
        links[n + i] = before < 0 && (uint)index < (uint)rows ? 1 : 0;
    }

    /// <summary>The thread of the first position of each index follows the links and adds the rows in order: no atomics, reproducible bits.</summary>
    public static void ScatterAdd(ArrayView<byte> source, ArrayView<int> indices, ArrayView<int> links, ArrayView<float> table, int n, int columns, SpecializedValue<int> type)
    {
        int across = (columns + Threads - 1) / Threads, i = Grid.IdxX / across, column = (Grid.IdxX - i * across) * Threads + Group.IdxX;
        if (column >= columns || links[n + i] == 0)
            return;
        long to = (long)indices[i] * columns + column;
        float total = table[to];
        for (; i >= 0; i = links[i])
            total += Load(source, (long)i * columns + column, type);
        table[to] = total;
    }

    /// <summary>One thread per row. An index beyond the row gives NaN. The type is that of the source, f32 or bf16.</summary>
    public static void Pick(ArrayView<byte> source, ArrayView<int> indices, ArrayView<float> target, int rows, long columns, SpecializedValue<int> type)
    {
        int row = Grid.IdxX * Threads + Group.IdxX;
        if (row < rows)
            target[row] = indices[row] < 0 ? 0 : indices[row] >= columns ? float.NaN : Load(source, row * columns + indices[row], type);
    }

    /// <summary>One thread a row, so that equal indices add up in their order. An index outside the row is skipped. The type is that of the target, f32 or bf16.</summary>
    public static void AddAt(ArrayView<byte> target, ArrayView<int> indices, ArrayView<float> value, int rows, long columns, int perRow, SpecializedValue<int> type)
    {
        int row = Grid.IdxX * Threads + Group.IdxX;
        if (row >= rows)
            return;
        long first = (long)row * perRow;
        for (int j = 0; j < perRow; j++)
        {
            int index = indices[first + j];
            if (index < 0 || index >= columns)
                continue;
            long place = row * columns + index;
            float sum = Load(target, place, type) + value[first + j];
            Store(target, place, sum, type);
        }
    }

    private static float Load(ArrayView<byte> source, long index, int type) =>
        type == (int)DType.BF16 ? Interop.IntAsFloat((uint)source.Cast<ushort>()[index] << 16) : source.Cast<float>()[index];

    private static void Store(ArrayView<byte> target, long index, float value, int type)
    {
        if (type == (int)DType.BF16)
            target.Cast<ushort>()[index] = Bf16.Narrow(value);
        else
            target.Cast<float>()[index] = value;
    }
}
