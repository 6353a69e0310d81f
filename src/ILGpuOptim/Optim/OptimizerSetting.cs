using System.Reflection;
using System.Text.Json;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// A setting by its name. A setting of some optimizers is a property of <see cref="OptimizerSettings"/> that is null unless it is set. It is copied to the
/// property of the same name, or of <see cref="Alias"/>, of an optimizer's options. A few settings belong to all optimizers.
/// </summary>
internal sealed class OptimizerSetting
{
    private static readonly Dictionary<string, string> Aliases = new()
    {
        [nameof(OptimizerSettings.Scale)] = nameof(FiraOptions.Alpha),
        [nameof(OptimizerSettings.LambForm)] = nameof(LambOptions.Form),
        [nameof(OptimizerSettings.MuonForm)] = nameof(MuonOptions.Form),
        [nameof(OptimizerSettings.MuonScaling)] = nameof(MuonOptions.Scaling),
        [nameof(OptimizerSettings.ProjectionBasis)] = nameof(LowRankOptions.Basis),
        [nameof(OptimizerSettings.ProjectionSeed)] = nameof(LowRankOptions.Seed),
    };

    private static readonly string[] Everyones = [nameof(OptimizerSettings.WeightDecay), nameof(OptimizerSettings.StateType)];

    private readonly PropertyInfo property;
    private readonly Type type;
    private readonly bool isEveryones;

    private OptimizerSetting(PropertyInfo property)
    {
        this.property = property;
        type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        isEveryones = Everyones.Contains(property.Name);
        Name = JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name);
        Alias = Aliases.GetValueOrDefault(property.Name, property.Name);
    }

    /// <summary>Every setting.</summary>
    public static IReadOnlyList<OptimizerSetting> All { get; } =
        [.. typeof(OptimizerSettings).GetProperties().Where(property => Nullable.GetUnderlyingType(property.PropertyType) is not null || Everyones.Contains(property.Name)).Select(property => new OptimizerSetting(property))];

    /// <summary>Its name in files and on the command line.</summary>
    public string Name { get; }

    /// <summary>Its name in some options.</summary>
    public string Alias { get; }

    /// <summary>The values that it accepts, for messages.</summary>
    public string Values => Validation.Values.Describe(type, Registry.Entries.Select(RangeIn).FirstOrDefault(range => range is not null));

    /// <summary>Finds a setting.</summary>
    /// <exception cref="UserException">There is none of that name; the message suggests the nearest.</exception>
    public static OptimizerSetting Find(string name)
    {
        string wanted = name.Replace('-', '_');
        return All.FirstOrDefault(setting => setting.Name.Equals(wanted, StringComparison.OrdinalIgnoreCase))
            ?? throw new UserException($"\"{name}\" is not a setting of an optimizer{Nearest.Question(wanted, All.Select(setting => setting.Name))} There are {string.Join(", ", All.Select(setting => setting.Name))}");
    }

    /// <summary>True if an optimizer has the setting.</summary>
    public bool IsOf(OptimizerEntry entry) => isEveryones || TargetIn(entry) is not null;

    /// <summary>The range that an optimizer declares for it; null when it has no such number.</summary>
    public RangeAttribute? RangeIn(OptimizerEntry entry) => TargetIn(entry)?.GetCustomAttribute<RangeAttribute>();

    /// <summary>The range that an optimizer declares for a property of <see cref="OptimizerSettings"/>.</summary>
    internal static RangeAttribute? RangeOf(PropertyInfo property, OptimizerEntry entry) => new OptimizerSetting(property).RangeIn(entry);

    /// <summary>True if the setting has a value.</summary>
    public bool IsSet(OptimizerSettings settings) => property.GetValue(settings) is not null;

    /// <summary>The settings without it.</summary>
    public OptimizerSettings Without(OptimizerSettings settings) => Set(settings, null);

    /// <summary>The settings with this one parsed from text.</summary>
    /// <exception cref="UserException">The text is not a valid value.</exception>
    public OptimizerSettings Parse(OptimizerSettings settings, string text)
    {
        RangeAttribute? range = RangeIn(Registry.Find(settings.Name)) ?? Registry.Entries.Select(RangeIn).FirstOrDefault(other => other is not null);
        return Set(settings, Validation.Values.Require(Name, type, text, range));
    }

    /// <summary>An optimizer's options with the values that are set.</summary>
    internal static T Apply<T>(OptimizerSettings settings, T defaults) where T : OptimizerOptions
    {
        T options = defaults with { };
        foreach (OptimizerSetting setting in All)
        {
            if (!setting.isEveryones && setting.property.GetValue(settings) is { } value && setting.TargetIn(typeof(T)) is { } target)
                target.SetValue(options, value);
        }

        return options;
    }

    private PropertyInfo? TargetIn(OptimizerEntry entry) => TargetIn(entry.Options(new OptimizerSettings { Name = entry.Name }, true).GetType());

    private PropertyInfo? TargetIn(Type options) => new[] { options.GetProperty(property.Name), options.GetProperty(Alias) }
        .FirstOrDefault(target => target is not null && (Nullable.GetUnderlyingType(target.PropertyType) ?? target.PropertyType) == type);

    private OptimizerSettings Set(OptimizerSettings settings, object? value)
    {
        OptimizerSettings changed = settings with { };
        property.SetValue(changed, value);
        return changed;
    }
}
