namespace ILGpuOptim.Training;

/// <summary>Named starting points for settings.</summary>
public static class Presets
{
    private static readonly TrainingSettings ShakespeareChar = new()
    {
        Preset = "shakespeare-char",
        Optimizer = new OptimizerSettings { Beta2 = 0.99 },
    };

    private static readonly (TrainingSettings Settings, string Summary)[] All =
    [
        (ShakespeareChar with { Preset = "default", Steps = 3000, EvalInterval = 300, CheckpointInterval = 600 }, "a small character model, about two minutes on two cores"),
        (ShakespeareChar, "nanoGPT's recipe for a laptop: 4 layers, 128 channels, 2000 steps"),
        (ShakespeareChar with { Preset = "tiny", Layers = 2, Heads = 2, Channels = 32, Block = 32, Batch = 8, Steps = 200, Warmup = 20, EvalInterval = 100, CheckpointInterval = 100 }, "seconds; for trying things out"),
        (ShakespeareChar with { Preset = "small", Layers = 6, Heads = 6, Channels = 384, Block = 256, Batch = 32, Dropout = 0.2, Steps = 5000 }, "nanoGPT's character model for a GPU; hours on a laptop"),
    ];

    /// <summary>The presets with a line about each.</summary>
    public static IEnumerable<(string Name, string Summary)> Names => All.Select(preset => (preset.Settings.Preset, preset.Summary));

    /// <summary>Finds a preset.</summary>
    /// <exception cref="UserException">There is none of that name; the message suggests the nearest.</exception>
    public static TrainingSettings Find(string name)
    {
        foreach ((TrainingSettings settings, _) in All)
        {
            if (settings.Preset.Equals(name, StringComparison.OrdinalIgnoreCase))
                return settings;
        }

        throw new UserException($"there is no preset \"{name}\"; did you mean {Nearest.To(name, Names.Select(preset => preset.Name))}? There are {string.Join(", ", Names.Select(preset => preset.Name))}");
    }
}
