namespace ILGpuOptim.Optim;

/// <summary>An optimizer as commands name it: its name with parts, and settings of its own after colons, as in <c>adamw+cautious:beta1=0.8</c>.</summary>
/// <param name="Name">The name.</param>
/// <param name="Assignments">The settings, such as <c>beta1=0.8</c>.</param>
internal sealed record OptimizerLabel(string Name, IReadOnlyList<string> Assignments)
{
    /// <summary>Separates the name from the settings. Neither is checked.</summary>
    public static OptimizerLabel Parse(string text)
    {
        string[] parts = text.Split(':', StringSplitOptions.TrimEntries);
        return new(parts[0], parts[1..]);
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(':', [Name, .. Assignments]);

    /// <summary>Settings with those of the label.</summary>
    /// <exception cref="UserException">There is no such setting, it is given twice, or its value is invalid. The message begins with the label.</exception>
    public OptimizerSettings ApplyTo(OptimizerSettings settings)
    {
        var given = new HashSet<string>();
        try
        {
            foreach (string assignment in Assignments)
            {
                settings = settings.With(assignment);
                string name = OptimizerSettings.SettingOf(assignment)!;
                if (!given.Add(name))
                    throw new UserException($"{name} is given twice; give it once");
            }

            return settings;
        }
        catch (UserException e)
        {
            throw UserException.NamingSettings($"{ToString()}: {e}", e);
        }
    }
}
