namespace ILGpuOptim.Layers;

/// <summary>The rotary angles and relative-bias tables that layers of a stack share.</summary>
internal sealed class SharedTables
{
    private readonly List<(RotaryDescription Description, RotaryAngles Angles)> rotations = [];
    private readonly List<(string Name, RelativeBias Table)> biases = [];

    /// <summary>The number of kinds of rotary positions.</summary>
    public int Rotations => rotations.Count;

    /// <summary>The number of relative-bias tables.</summary>
    public int Biases => biases.Count;

    /// <summary>The index of a kind of rotary positions, which is added if it is new; -1 for none.</summary>
    public int Add(RotaryDescription? description)
    {
        if (description is null)
            return -1;
        int found = rotations.FindIndex(kind => kind.Description == description);
        if (found < 0)
            rotations.Add((description, new RotaryAngles(description)));
        return found < 0 ? rotations.Count - 1 : found;
    }

    /// <summary>The index of a relative-bias table, which is made if it is new; -1 for none.</summary>
    /// <param name="initializer">Creates the parameters.</param>
    /// <param name="description">The table.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="made">The new table, which belongs to the calling layer; null if there was one of this name.</param>
    public int Add(Initializer initializer, RelativeBiasDescription? description, int heads, out RelativeBias? made)
    {
        made = null;
        if (description is null)
            return -1;
        int found = biases.FindIndex(bias => bias.Name == description.Name);
        if (found >= 0)
            return found;
        made = new RelativeBias(initializer, description, heads);
        biases.Add((description.Name, made));
        return biases.Count - 1;
    }

    /// <summary>A kind of rotary positions.</summary>
    public RotaryAngles Rotation(int number) => rotations[number].Angles;

    /// <summary>A table of relative position biases.</summary>
    public RelativeBias Bias(int number) => biases[number].Table;
}
