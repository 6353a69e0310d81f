using ILGpuOptim.Compute;

namespace ILGpuOptim.Models;

/// <summary>
/// The angles of rotary position embedding (Su et al., "RoFormer", 2021): pair i of a head turns by position · frequencyᵢ with
/// frequencyᵢ = θ^(-2i/size), stretched for longer contexts where the configuration says so. Products are rounded to f32
/// as in Hugging Face's library, so that long contexts agree with the models' makers.
/// </summary>
public sealed class RotaryAngles
{
    private readonly float[] frequencies;
    private readonly int headSize;
    private float[] table = [];
    private int[] positions = [];
    private float[] rows = [];

    /// <summary>Computes the frequencies of a configuration.</summary>
    public RotaryAngles(LlamaConfig config)
    {
        headSize = config.SizeOfHead;
        frequencies = new float[headSize / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            double frequency = (float)Math.Pow(config.Theta, -2.0 * i / headSize);
            frequencies[i] = (float)(config.Scaling?.Apply(frequency) ?? frequency);
        }
    }

    /// <summary>
    /// Uploads the angles of some positions until the tape is reset: for each a row of size / 2 cosines and as many sines.
    /// Positions are free, so that a sequence may begin anywhere.
    /// </summary>
    public Block Rows(Tape tape, ReadOnlySpan<int> positions)
    {
        if (!positions.SequenceEqual(this.positions))
        {
            this.positions = positions.ToArray();
            rows = new float[positions.Length * headSize];
            Write(positions, rows);
        }

        return tape.Numbers(rows);
    }

    /// <summary>The rows of <see cref="Rows"/>, into the caller's memory.</summary>
    public void Write(ReadOnlySpan<int> positions, Span<float> rows)
    {
        int largest = -1;
        foreach (int position in positions)
            largest = Math.Max(largest, position);
        Extend(largest + 1);
        for (int i = 0; i < positions.Length; i++)
            table.AsSpan(positions[i] * headSize, headSize).CopyTo(rows[(i * headSize)..]);
    }

    private void Extend(int count)
    {
        int known = table.Length / headSize;
        if (count <= known)
            return;
        count = Math.Max(count, 2 * known);
        Array.Resize(ref table, count * headSize);
        for (int position = known; position < count; position++)
        {
            for (int i = 0; i < frequencies.Length; i++)
            {
                float angle = position * frequencies[i];
                table[position * headSize + i] = (float)Math.Cos(angle);
                table[position * headSize + headSize / 2 + i] = (float)Math.Sin(angle);
            }
        }
    }
}
