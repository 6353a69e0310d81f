using ILGpuOptim.Compute;

namespace ILGpuOptim.Models;

/// <summary>The kinds of rotary positions of a model: most have one, some one for each kind of layer.</summary>
internal sealed class RotaryKinds
{
    private readonly List<(RotaryDescription Description, RotaryAngles Angles)> kinds = [];

    /// <summary>How many there are.</summary>
    public int Count => kinds.Count;

    /// <summary>The number of a kind, which is added when it is new; -1 for none.</summary>
    public int Add(RotaryDescription? description)
    {
        if (description is null)
            return -1;
        int found = kinds.FindIndex(kind => kind.Description == description);
        if (found < 0)
            kinds.Add((description, new RotaryAngles(description)));
        return found < 0 ? kinds.Count - 1 : found;
    }

    /// <summary>Uploads the angles of all kinds for the positions of a pass.</summary>
    public void Upload(ForwardContext context, ReadOnlySpan<int> positions)
    {
        for (int i = 0; i < kinds.Count; i++)
            context.SetAngles(i, kinds[i].Angles.Rows(context.Tape, positions));
    }
}
