using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Lab;

/// <summary>
/// A recorded trajectory of a reference optimizer. Gradients do not depend on parameters, so errors are not amplified
/// by a loss.
/// </summary>
internal sealed class GoldenCase : IDisposable
{
    private readonly JsonElement json;
    private readonly bool warmsUp;

    private GoldenCase(string folder, JsonElement json)
    {
        this.json = json;
        Optimizer = json.GetProperty("optimizer").GetString()!;
        Name = $"{Optimizer}/{json.GetProperty("case").GetString()}";
        Steps = json.GetProperty("steps").GetInt32();
        RecordedSteps = Integers(json.GetProperty("recorded_steps"));
        ZeroSteps = Integers(json.GetProperty("gradient").GetProperty("zero_steps"));
        HugeSteps = Integers(json.GetProperty("gradient").GetProperty("huge_steps"));
        StartsAtZero = OneOf("init", "hash", "zeros") == "zeros";
        warmsUp = OneOf("lr_schedule", "constant", "warmup10") == "warmup10";
        new GoldenSettings(json.GetProperty("gradient"), "the gradient's").RequireNothingBut("zero_steps", "huge_steps");
        Groups = [.. json.GetProperty("groups").EnumerateArray().Select(group =>
            (group.GetProperty("params").EnumerateArray().Select(name => name.GetString()!).ToArray(), group.GetProperty("hyper")))];
        Parameters = json.GetProperty("params").EnumerateObject().ToDictionary(item => item.Name, item => new GoldenParameter(this, item.Name, item.Value));
        File = SafetensorsFile.Open(Path.Combine(folder, json.GetProperty("file").GetString()!));
    }

    /// <summary>The optimizer's name in the goldens.</summary>
    public string Optimizer { get; }

    /// <summary>Optimizer and case.</summary>
    public string Name { get; }

    /// <summary>Number of updates.</summary>
    public int Steps { get; }

    /// <summary>The steps after which parameters were recorded.</summary>
    public int[] RecordedSteps { get; }

    /// <summary>The steps whose gradients are zero.</summary>
    public int[] ZeroSteps { get; }

    /// <summary>The steps whose gradients are ten thousand times too large.</summary>
    public int[] HugeSteps { get; }

    /// <summary>True if parameters start at zero instead of hashed values.</summary>
    public bool StartsAtZero { get; }

    /// <summary>The parameters by name.</summary>
    public IReadOnlyDictionary<string, GoldenParameter> Parameters { get; }

    /// <summary>Groups: names of parameters and their settings.</summary>
    public IReadOnlyList<(string[] Parameters, JsonElement Hyper)> Groups { get; }

    /// <summary>Recorded tensors.</summary>
    public SafetensorsFile File { get; }

    /// <summary>True if Muon's iteration ran in bf16.</summary>
    public bool IsBf16 => json.TryGetProperty("newton_schulz_dtype", out JsonElement type) && type.ValueKind == JsonValueKind.String && type.GetString()!.StartsWith("bf", StringComparison.Ordinal);

    /// <summary>Options of the whole optimizer.</summary>
    public JsonElement InstanceOptions => json.GetProperty("instance_options");

    /// <summary>The settings of a parameter's group.</summary>
    public JsonElement HyperOf(string parameter) => Groups.Single(group => group.Parameters.Contains(parameter)).Hyper;

    /// <summary>The steps at which a parameter's projection was refreshed; empty without projections.</summary>
    public int[] RefreshSteps(string parameter) =>
        json.GetProperty("refresh_steps").TryGetProperty(parameter, out JsonElement steps) ? Integers(steps) : [];

    /// <summary>Final scalars of a parameter, such as a limiter's norm.</summary>
    public JsonElement FinalScalars(string parameter) => json.GetProperty("final_scalars").GetProperty(parameter);

    /// <summary>The numbers that each group keeps, after a recorded step; none where none are recorded.</summary>
    public IReadOnlyList<JsonElement> GroupScalars(int step) =>
        json.TryGetProperty("group_scalars", out JsonElement recorded) && recorded.TryGetProperty(step.ToString(System.Globalization.CultureInfo.InvariantCulture), out JsonElement groups) ? [.. groups.EnumerateArray()] : [];

    /// <summary>The factor of the learning rate at a step, from 1.</summary>
    public double LearningRateFactor(int step) => warmsUp ? Math.Min(1, step / 10.0) : 1;

    /// <summary>The distance of the recorded run, which is f32, from one in double precision, relative to the largest value; 0 where it is not recorded.</summary>
    public double DistanceFromDouble => json.TryGetProperty("float64_twin", out JsonElement twin) && twin.ValueKind == JsonValueKind.Object && twin.TryGetProperty("rel_err_param", out JsonElement error) ? error.GetDouble() : 0;

    /// <summary>The tolerance of a parameter after a step.</summary>
    public GoldenTolerance ToleranceOf(string parameter, int step)
    {
        JsonElement hyper = HyperOf(parameter);
        if (IsBf16 && hyper.TryGetProperty("use_muon", out JsonElement muon) && muon.ValueKind == JsonValueKind.True)
            return GoldenTolerance.Bf16Iteration;
        bool isFull = hyper.TryGetProperty("proj_type", out JsonElement type) && type.GetString() == "full";
        return isFull && step <= 2 ? GoldenTolerance.FullProjectionStart : GoldenTolerance.Usual;
    }

    /// <summary>The entries of a folder's index; <see cref="Open"/> makes a case of each.</summary>
    /// <exception cref="UserException">The folder has no index, or it is damaged.</exception>
    public static IReadOnlyList<JsonElement> ReadIndex(string folder)
    {
        string path = Path.Combine(folder, "index.json");
        try
        {
            using JsonDocument document = JsonDocument.Parse(SourceFile.ReadAllText(path, JsonFields.MaxFileBytes, "it is not an index"));
            if (document.RootElement.GetProperty("format") is { ValueKind: JsonValueKind.Number } format && format.GetDouble() != 1)
                throw new UserException($"{path}: format {format}, but only format 1 is known");
            return [.. document.RootElement.GetProperty("cases").EnumerateArray().Select(item => item.Clone())];
        }
        catch (Exception e) when (IsDamage(e))
        {
            throw new UserException($"{path}: not an index of optimizer trajectories: {e.Message}; name the folder of recorded optimizers", e);
        }
    }

    /// <summary>Opens a case and checks that the hash makes the values that were trained with.</summary>
    /// <exception cref="UserException">The entry or the file is damaged, or it belongs to another version.</exception>
    public static GoldenCase Open(string folder, JsonElement entry)
    {
        try
        {
            return new GoldenCase(folder, entry);
        }
        catch (Exception e) when (IsDamage(e))
        {
            throw new UserException($"{Path.Combine(folder, "index.json")}: {TitleOf(entry)}: {e.Message}", e);
        }
    }

    /// <summary>Optimizer and case of an entry; ? where one is missing.</summary>
    public static string TitleOf(JsonElement entry)
    {
        string Text(string name) => entry.ValueKind == JsonValueKind.Object && entry.TryGetProperty(name, out JsonElement value) ? value.ToString() : "?";
        return $"{Text("optimizer")}/{Text("case")}";
    }

    /// <summary>Opens all cases of a folder.</summary>
    /// <exception cref="UserException">As <see cref="ReadIndex"/> and <see cref="Open"/>.</exception>
    public static IReadOnlyList<GoldenCase> ReadAll(string folder)
    {
        var cases = new List<GoldenCase>();
        try
        {
            foreach (JsonElement entry in ReadIndex(folder))
                cases.Add(Open(folder, entry));
            return cases;
        }
        catch
        {
            foreach (GoldenCase golden in cases)
                golden.Dispose();
            throw;
        }
    }

    internal static bool IsDamage(Exception e) =>
        e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException or FormatException or OverflowException;

    private string OneOf(string name, params string[] known) => json.GetProperty(name).GetString() is { } word && known.Contains(word)
        ? word
        : throw new UserException($"{Name}: {name} = {json.GetProperty(name)}, but only {string.Join(" and ", known)} are known");

    internal static int[] Integers(JsonElement array) => [.. array.EnumerateArray().Select(item => item.GetInt32())];

    /// <summary>Closes the recorded tensors.</summary>
    public void Dispose() => File.Dispose();
}
