using ILGpuOptim.Tasks;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Maps the settings and parameters that the library's messages name to flags; see <see cref="UserException.MessageWith"/>.</summary>
internal static class SettingFlags
{
    private static readonly Dictionary<string, string> Flags = new(new TrainOptions().ByPath.Select(item => KeyValuePair.Create(item.Key, item.Value.Name)), StringComparer.OrdinalIgnoreCase)
    {
        [$"{nameof(TrainingRun)}.{nameof(TrainingRun.Resume)}"] = "--resume",
        ["allowsOtherData"] = "--allow-data-change",
        ["folder"] = "--out",
        ["weights"] = "--weights",
        ["field"] = "--field",
        ["end"] = "--end",
        ["optimizers"] = "--optimizers",
        ["rates"] = "--lr",
        ["seeds"] = "--seeds",
        [nameof(TaskOptions.Format)] = "--format",
        [nameof(TaskOptions.Shots)] = "--shots",
        [nameof(TaskOptions.ShotsFrom)] = "--shots-from",
        [nameof(TaskOptions.Norm)] = "--norm",
    };

    /// <summary>The flag of a setting; its name in files where it has none.</summary>
    /// <param name="path">The property, such as <c>Optimizer.Beta1</c>, alone or with those that lead to it; or a parameter.</param>
    public static string NameOf(string path) =>
        Flags.GetValueOrDefault(path) ?? Flags.FirstOrDefault(item => item.Key.EndsWith("." + path, StringComparison.Ordinal)).Value ?? Values.PathOf(path);
}
