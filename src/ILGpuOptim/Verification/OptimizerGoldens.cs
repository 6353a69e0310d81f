using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Verification;

/// <summary>One parameter of a recorded trajectory: where it starts and its gradient at each step, made from a hash.</summary>
/// <param name="Name">Its name in the case.</param>
/// <param name="Shape">Its sizes.</param>
/// <param name="Seed">Of the hash.</param>
public sealed record GoldenParameter(string Name, int[] Shape, uint Seed)
{
    /// <summary>The number of elements.</summary>
    public int Length => Shape.Aggregate(1, (product, size) => product * size);

    /// <summary>24 random bits of an element at a step; arithmetic wraps at 32 bits.</summary>
    public static uint Hash(uint seed, uint step, uint index)
    {
        uint x = seed * 0x9E3779B1 + step * 0x85EBCA77 + index * 0xC2B2AE3D;
        x = (x ^ x >> 16) * 0x7FEB352D;
        x = (x ^ x >> 15) * 0x846CA68B;
        return (x ^ x >> 16) >> 8;
    }

    /// <summary>The values before the first step, in [-½, ½).</summary>
    public float[] Initial() => Fill(i => ((int)Hash(Seed, uint.MaxValue, i) - (1 << 23)) * (1f / (1 << 24)));

    /// <summary>The gradient of a step, from 1: a constant part, a part that changes, smaller in some rows, and smaller at some steps.</summary>
    public float[] Gradient(int step, bool isZero, bool isHuge)
    {
        uint columns = (uint)(Shape.Length >= 2 ? Shape[^1] : int.MaxValue);
        return Fill(i =>
        {
            if (isZero)
                return 0;
            double value = ((long)Hash(Seed, 0, i) + Hash(Seed, (uint)step, i) - (1 << 24)) * Math.ScaleB(1, -24 - (int)(i / columns % 3));
            return isHuge ? (float)value * 10000f : (float)(value * Math.ScaleB(1, -(3 * step % 5)));
        });
    }

    private float[] Fill(Func<uint, float> element)
    {
        var result = new float[Length];
        for (int i = 0; i < result.Length; i++)
            result[i] = element((uint)i);
        return result;
    }
}

/// <summary>A recorded trajectory of a reference optimizer.</summary>
public sealed class GoldenCase : IDisposable
{
    private readonly JsonElement json;
    private readonly int[] zeroSteps, hugeSteps;

    internal GoldenCase(string folder, JsonElement json)
    {
        this.json = json;
        Optimizer = json.GetProperty("optimizer").GetString()!;
        Name = $"{Optimizer}/{json.GetProperty("case").GetString()}";
        Steps = json.GetProperty("steps").GetInt32();
        RecordedSteps = Integers(json.GetProperty("recorded_steps"));
        zeroSteps = Integers(json.GetProperty("gradient").GetProperty("zero_steps"));
        hugeSteps = Integers(json.GetProperty("gradient").GetProperty("huge_steps"));
        bool zeros = json.GetProperty("init").GetString() == "zeros";
        StartsAtZero = zeros;
        Parameters = json.GetProperty("params").EnumerateObject().ToDictionary(
            item => item.Name,
            item => new GoldenParameter(item.Name, Integers(item.Value.GetProperty("shape")), item.Value.GetProperty("seed").GetUInt32()));
        Groups = [.. json.GetProperty("groups").EnumerateArray().Select(group =>
            (group.GetProperty("params").EnumerateArray().Select(name => name.GetString()!).ToArray(), group.GetProperty("hyper")))];
        File = SafetensorsFile.Open(Path.Combine(folder, json.GetProperty("file").GetString()!));
    }

    /// <summary>The optimizer's name in the goldens.</summary>
    public string Optimizer { get; }

    /// <summary>Optimizer and case.</summary>
    public string Name { get; }

    /// <summary>Updates of the trajectory.</summary>
    public int Steps { get; }

    /// <summary>The steps after which parameters were recorded.</summary>
    public int[] RecordedSteps { get; }

    /// <summary>Whether parameters begin at zero instead of the hash.</summary>
    public bool StartsAtZero { get; }

    /// <summary>The parameters by name.</summary>
    public IReadOnlyDictionary<string, GoldenParameter> Parameters { get; }

    /// <summary>Groups: names of parameters and their settings.</summary>
    public IReadOnlyList<(string[] Parameters, JsonElement Hyper)> Groups { get; }

    /// <summary>Recorded tensors.</summary>
    public SafetensorsFile File { get; }

    /// <summary>The type of Muon's iteration, when stated.</summary>
    public bool IsBf16 => json.TryGetProperty("newton_schulz_dtype", out JsonElement type) && type.ValueKind == JsonValueKind.String && type.GetString()!.StartsWith("bf", StringComparison.Ordinal);

    /// <summary>Options of the whole optimizer.</summary>
    public JsonElement InstanceOptions => json.GetProperty("instance_options");

    /// <summary>Which projection is in force from which step on.</summary>
    public int[] RefreshSteps(string parameter) =>
        json.GetProperty("refresh_steps").TryGetProperty(parameter, out JsonElement steps) ? Integers(steps) : [];

    /// <summary>Final scalars of a parameter, such as a limiter's norm.</summary>
    public JsonElement FinalScalars(string parameter) => json.GetProperty("final_scalars").GetProperty(parameter);

    /// <summary>What the learning rate is multiplied by at a step, from 1.</summary>
    public double LearningRateFactor(int step) => json.GetProperty("lr_schedule").GetString() == "warmup10" ? Math.Min(1, step / 10.0) : 1;

    /// <summary>The gradient of a parameter at a step, from 1.</summary>
    public float[] Gradient(GoldenParameter parameter, int step) => parameter.Gradient(step, zeroSteps.Contains(step), hugeSteps.Contains(step));

    /// <summary>Reads all cases of a folder.</summary>
    /// <exception cref="UserException">The folder has no index, or it is damaged.</exception>
    public static IReadOnlyList<GoldenCase> ReadAll(string folder)
    {
        string path = Path.Combine(folder, "index.json");
        try
        {
            using JsonDocument document = JsonDocument.Parse(System.IO.File.ReadAllText(path));
            return [.. document.RootElement.GetProperty("cases").EnumerateArray().Select(item => new GoldenCase(folder, item.Clone()))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new UserException($"{path}: not an index of optimizer trajectories: {e.Message}", e);
        }
    }

    private static int[] Integers(JsonElement array) => [.. array.EnumerateArray().Select(item => item.GetInt32())];

    /// <summary>Closes the recorded tensors.</summary>
    public void Dispose() => File.Dispose();
}
