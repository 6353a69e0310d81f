using System.Globalization;
using System.Reflection;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>The learning rate of some parameters.</summary>
/// <param name="Pattern">Matches their names; * stands for anything.</param>
/// <param name="Factor">Multiplies their learning rate; 0 leaves them unchanged.</param>
public sealed record RateFactor(string Pattern, [property: Range(0)] double Factor);

/// <summary>
/// An optimizer's name, the settings that all optimizers have, and values of its own options. Several optimizers may share these settings, so options
/// that an optimizer does not have are no error until <see cref="Check"/>.
/// </summary>
public sealed record OptimizerSettings : IOpenSettings
{
    /// <summary>The name of the optimizer.</summary>
    public string Name { get; init; } = "adamw";

    /// <summary>The peak learning rate; null means that recommended for the optimizer (<see cref="Rate"/>).</summary>
    [Range(0)]
    public double? LearningRate { get; init; }

    /// <summary>Weight decay of matrices; vectors have none.</summary>
    [Range(0)]
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Values of the optimizer's own options; others have their defaults. In files they are fields beside the other settings.</summary>
    [JsonIgnore]
    public OptionValues Options { get; private init; } = OptionValues.None;

    /// <summary>The storage type of optimizer state; state that needs f32 keeps it.</summary>
    public StateStorage StateType { get; init; }

    /// <summary>The matrices inside the blocks of GPT-2, LLaMA and BERT; a model has only some of these names.</summary>
    internal static readonly IReadOnlyList<string> UsualLowRank = ["*attn*", "*mlp*", "*attention*", "*intermediate*", "*output.dense*"];

    /// <summary>Names of matrices trained at low rank; * matches anything.</summary>
    public IReadOnlyList<string> LowRank { get; init; } = UsualLowRank;

    /// <summary>Learning-rate factors of parameter groups; where several match, their factors multiply.</summary>
    public IReadOnlyList<RateFactor> LearningRateFor { get; init; } = [];

    /// <summary>Names of parameters without weight decay; vectors never have any.</summary>
    public IReadOnlyList<string> NoDecay { get; init; } = [];

    /// <summary>The peak learning rate, or that recommended for the optimizer where none is set.</summary>
    /// <exception cref="UserException">There is no optimizer of that name.</exception>
    [JsonIgnore]
    public double Rate => LearningRate ?? Registry.Find(Name).Defaults.LearningRate;

    /// <summary>The options as fields of JSON.</summary>
    [JsonExtensionData]
    private IEnumerable<KeyValuePair<string, JsonNode?>> Fields => Options.Select(item => KeyValuePair.Create(item.Key, (JsonNode?)Node(item.Value)));

    private static JsonNode Node(string value) =>
        value is "true" or "false" ? JsonValue.Create(value == "true")
        : Values.Parse(typeof(ulong), value) is ulong whole ? JsonValue.Create(whole)
        : Values.Parse(typeof(double), value) is double number ? JsonValue.Create(number)
        : JsonValue.Create(value);

    /// <summary>
    /// These settings for an optimizer. Its learning rate and options are those recommended, unless these settings are for the same one, with whatever parts:
    /// then all that it has stays.
    /// </summary>
    /// <param name="label">Its name, after which settings may follow: <c>adamw+cautious:beta1=0.8</c>.</param>
    /// <exception cref="UserException">There is no such optimizer or setting, or a value is invalid.</exception>
    public OptimizerSettings For(string label)
    {
        var asked = OptimizerLabel.Parse(label);
        OptimizerEntry entry = Registry.Find(asked.Name);
        OptimizerSettings settings = entry.Name == Name ? this
            : WithoutParts(entry.Name).Equals(WithoutParts(Name), StringComparison.OrdinalIgnoreCase)
                ? Options.Where(option => entry.OptionNamed(option.Key) is null).Aggregate(this with { Name = entry.Name }, (changed, option) => changed.Without(option.Key))
            : this with { Name = entry.Name, LearningRate = null, Options = OptionValues.None, LowRank = entry.ChoosesMatrices ? LowRank : UsualLowRank };
        return asked.ApplyTo(settings);
    }

    private static string WithoutParts(string name) => name.Split('+')[0].Trim();

    /// <summary>These settings with every default filled in: the recommended learning rate and options.</summary>
    internal OptimizerSettings Filled()
    {
        OptimizerSettings filled = this with { LearningRate = Rate };
        return Registry.Find(Name).Options.Where(option => option.Default is not null).Aggregate(filled, (settings, option) => settings.WithDefault(option.Name, option.Default!));
    }

    /// <summary>The settings of a run of an earlier version, in which options that its file omits had the values of the optimizer's paper.</summary>
    internal OptimizerSettings WithFormerDefaults() => Name switch
    {
        "came" => WithDefault("beta2", "0.999").WithDefault("beta3", "0.9999"),
        "adam" or "adamw" or "lamb" or "muon" or "adam-mini" or "galore" or "fira" or "apollo" or "apollo-mini" => WithDefault("beta2", "0.999"),
        _ => this,
    };

    /// <summary>The value of an option as text; null where it has its default.</summary>
    public string? this[string option] => Options[option];

    /// <summary>These settings with one changed, as in <c>limiter_ignores_zero=true</c> or <c>weight_decay=0</c>.</summary>
    /// <exception cref="UserException">There is no such setting, or the value is invalid.</exception>
    public OptimizerSettings With(string assignment)
    {
        string[] pair = assignment.Split('=', 2, StringSplitOptions.TrimEntries);
        try
        {
            if (pair.Length == 2)
                return With(pair[0], pair[1]);
        }
        catch (SettingException e)
        {
            throw new UserException(e.MessageWith(_ => pair[0]), e);
        }

        string valid = IsShared(pair[0], nameof(WeightDecay)) ? Values.Describe(typeof(double), WeightDecayRange) : IsShared(pair[0], nameof(StateType)) ? Values.Describe(typeof(StateStorage)) : Declaration(pair[0]).ValidValues;
        throw new UserException($"{pair[0]} has no value; write {pair[0]}=VALUE, where VALUE is {valid}");
    }

    /// <summary>These settings with one changed.</summary>
    /// <param name="name">An option of this optimizer or of another, <c>weight_decay</c> or <c>state_type</c>.</param>
    /// <param name="value">The value as text: 0.99, true or randomized_svd.</param>
    /// <exception cref="UserException">There is no such setting, or the value is invalid.</exception>
    public OptimizerSettings With(string name, string value)
    {
        if (IsShared(name, nameof(WeightDecay)))
            return this with { WeightDecay = (double)Values.Require("weight_decay", typeof(double), value, WeightDecayRange) };
        if (IsShared(name, nameof(StateType)))
            return this with { StateType = (StateStorage)Values.Require("state_type", typeof(StateStorage), value) };
        OptimizerOption option = Declaration(name, value);
        return this with { Options = Options.With(option.Name, option.Normalized(value)) };
    }

    /// <summary>These settings with one number changed; see <see cref="With(string, string)"/>.</summary>
    /// <exception cref="UserException">There is no such setting, or the value is invalid.</exception>
    public OptimizerSettings With(string name, double value) => With(name, value.ToString(CultureInfo.InvariantCulture));

    /// <summary>These settings with the default of an option.</summary>
    internal OptimizerSettings Without(string option) => this with { Options = Options.With(option, null) };

    /// <summary>These settings with a value for an option that the optimizer has and that is not set.</summary>
    internal OptimizerSettings WithDefault(string option, string value) =>
        Options[option] is null && Registry.Find(Name).OptionNamed(option) is not null ? With(option, value) : this;

    object IOpenSettings.With(string name, string value) => With(name, value);

    object IOpenSettings.Without(string name) => Without(Declaration(name).Name);

    string? IOpenSettings.ValidValues(string name, out bool isWord)
    {
        // Names in files are exact, so that none stands there twice.
        OptimizerOption? option = Find(name) is { } found && (name == found.Name || name == found.FormerName) ? found : null;
        isWord = option?.IsWord ?? false;
        return option?.ValidValues;
    }

    IEnumerable<string> IOpenSettings.Names => Registry.DeclaredOptions.Select(item => item.Option.Name).Distinct();

    void IOpenSettings.CheckRanges() => _ = Registry.Find(Name).OptionsFor(this);

    /// <summary>Throws on options that the optimizer does not have, and on values outside their ranges.</summary>
    /// <exception cref="SettingException">A value lies outside its range.</exception>
    /// <exception cref="UserException">The optimizer does not have an option; the message lists those that do.</exception>
    public void Check()
    {
        CheckUsedBy([Registry.Find(Name)]);
        Ranges.Check(this);
    }

    /// <summary>Throws on an option that none of some optimizers has.</summary>
    /// <exception cref="UserException">The message names the option and lists the optimizers that have it.</exception>
    internal void CheckUsedBy(IReadOnlyList<OptimizerEntry> optimizers)
    {
        void Require(string setting, Func<OptimizerEntry, bool> isOf, IEnumerable<string> owners)
        {
            if (!optimizers.Any(isOf))
                throw new UserException($"{string.Join(", ", optimizers.Select(entry => entry.Name).Distinct())} {(optimizers.Count == 1 ? "has" : "have")} no {setting}; leave it out, or use {string.Join(", ", owners)}");
        }

        foreach ((string name, _) in Options)
            Require(name, entry => entry.OptionNamed(name) is not null, Registry.DeclaredOptions.Where(item => item.Option.IsNamed(name)).Select(item => item.Owner));
        if (!LowRank.SequenceEqual(UsualLowRank))
            Require("low_rank", entry => entry.ChoosesMatrices, Registry.Entries.Where(entry => entry.ChoosesMatrices).Select(entry => entry.Name));
    }

    /// <summary>Options that are gone. Files of earlier versions, which wrote every option, have null for them.</summary>
    internal static readonly IReadOnlyList<string> FormerOptions = ["lamb_form"];

    /// <summary>The names of the settings of all optimizers.</summary>
    internal static readonly IReadOnlyList<string> SharedNames = [.. Ranges.SettingsOf(typeof(OptimizerSettings)).Select(property => Values.NameOf(property.Name)), Values.NameOf(nameof(Options)), "lr"];

    private static readonly RangeAttribute WeightDecayRange = typeof(OptimizerSettings).GetProperty(nameof(WeightDecay))!.GetCustomAttribute<RangeAttribute>()!;

    /// <summary>The setting that an assignment such as <c>beta1=0.8</c> changes; null if there is none of that name.</summary>
    internal static string? SettingOf(string assignment)
    {
        string name = assignment.Split('=')[0].Trim();
        return new[] { nameof(WeightDecay), nameof(StateType) }.Where(property => IsShared(name, property)).Select(Values.NameOf).FirstOrDefault()
            ?? Registry.DeclaredOptions.Select(item => item.Option).FirstOrDefault(option => option.IsNamed(name))?.Name;
    }

    private static bool IsShared(string name, string property) => Values.NameOf(property).Equals(name.Replace('-', '_'), StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// The declaration of an option: that of this optimizer, or else of the first that accepts the value, or else of the first that has it; null if there is none.
    /// </summary>
    private OptimizerOption? Find(string name, string? value = null)
    {
        string own = WithoutParts(Name);
        OptimizerOption? first = null, accepting = null;
        foreach ((string owner, OptimizerOption option) in Registry.DeclaredOptions)
        {
            if (!option.IsNamed(name))
                continue;
            if (owner.Equals(own, StringComparison.OrdinalIgnoreCase))
                return option;
            first ??= option;
            if (accepting is null && value is not null && option.Accepts(value))
                accepting = option;
        }

        return accepting ?? first;
    }

    private OptimizerOption Declaration(string name, string? value = null)
    {
        if (Find(name, value) is { } found)
            return found;
        if (name == "lr" || IsShared(name, nameof(LearningRate)))
            throw UserException.NamingSettings($"the learning rate is no option; set {nameof(LearningRate):setting}");
        string[] names = [Values.NameOf(nameof(WeightDecay)), Values.NameOf(nameof(StateType)), .. ((IOpenSettings)this).Names];
        throw new UserException($"\"{name}\" is not a setting of an optimizer{Nearest.Question(name.Replace('-', '_'), names)} There are {string.Join(", ", names)}");
    }
}
