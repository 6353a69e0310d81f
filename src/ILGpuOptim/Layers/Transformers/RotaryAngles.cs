using ILGpuOptim.Compute;

namespace ILGpuOptim.Layers;

/// <summary>
/// The angles of rotary position embedding: pair k of a head is rotated by position · f_k, see <see cref="RotaryFrequencies"/>. They are computed in
/// f64 and rounded to f32 once.
/// </summary>
public sealed class RotaryAngles
{
    /// <summary>The most rows that are kept; rows of farther positions are computed each time.</summary>
    private const int TableRows = 1 << 20;

    private readonly RotaryFrequencies frequencies;
    private readonly int size;
    private float[] table = [];
    private int[] positions = [];
    private float[] rows = [];

    /// <summary>Computes the frequencies of a description.</summary>
    public RotaryAngles(RotaryDescription description)
    {
        size = description.Size;
        frequencies = new RotaryFrequencies(description);
    }

    /// <summary>The number of rotated coordinates of a head, the elements of a row of angles.</summary>
    public int Size => size;

    /// <summary>
    /// Which frequencies sequences of a length have. dynamic and longrope scaling depend on the longest sequence: keys that were rotated for a
    /// length of another variant cannot be used beside new ones.
    /// </summary>
    public int VariantOf(int length) => frequencies.VariantOf(length);

    /// <summary>
    /// Uploads the angles of some positions until the tape is reset: for each a row of size / 2 cosines and as many sines, times the attention
    /// factor. Positions are free, so that a sequence may begin anywhere; the largest is taken for the longest sequence's end.
    /// </summary>
    public Block Rows(Tape tape, ReadOnlySpan<int> positions)
    {
        if (!positions.SequenceEqual(this.positions))
        {
            this.positions = positions.ToArray();
            rows = new float[positions.Length * size];
            Write(positions, rows);
        }

        return tape.Values(rows);
    }

    /// <summary>The rows of <see cref="Rows"/>, into the caller's memory.</summary>
    public void Write(ReadOnlySpan<int> positions, Span<float> rows)
    {
        int largest = -1;
        foreach (int position in positions)
            largest = Math.Max(largest, position);
        int variant = frequencies.VariantOf(largest + 1);
        if (variant == 0 && largest < TableRows)
        {
            Extend(largest + 1);
            for (int i = 0; i < positions.Length; i++)
                table.AsSpan(positions[i] * size, size).CopyTo(rows[(i * size)..]);
            return;
        }

        double[] angularFrequencies = frequencies.Of(variant);
        for (int i = 0; i < positions.Length; i++)
            WriteRow(angularFrequencies, positions[i], rows.Slice(i * size, size));
    }

    private void Extend(int count)
    {
        int known = table.Length / size;
        if (count <= known)
            return;
        count = Math.Max(count, 2 * known);
        Array.Resize(ref table, count * size);
        double[] angularFrequencies = frequencies.Of(0);
        for (int position = known; position < count; position++)
            WriteRow(angularFrequencies, position, table.AsSpan(position * size, size));
    }

    private void WriteRow(double[] angularFrequencies, int position, Span<float> row)
    {
        for (int k = 0; k < angularFrequencies.Length; k++)
        {
            (double sine, double cosine) = Math.SinCos(position * angularFrequencies[k]);
            row[k] = (float)(cosine * frequencies.AttentionFactor);
            row[angularFrequencies.Length + k] = (float)(sine * frequencies.AttentionFactor);
        }
    }
}
