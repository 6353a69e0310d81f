using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;

namespace ILGpuOptim.Lab;

/// <summary>One parameter of a recorded trajectory: where it starts and its gradient at each step, made from a hash.</summary>
internal sealed class GoldenParameter
{
    private readonly GoldenCase golden;

    internal GoldenParameter(GoldenCase golden, string name, JsonElement json)
    {
        this.golden = golden;
        Name = name;
        Shape = GoldenCase.Integers(json.GetProperty("shape"));
        Seed = json.GetProperty("seed").GetUInt32();
        AuxiliarySeed = json.TryGetProperty("aux_seed", out JsonElement auxiliary) ? auxiliary.GetUInt32() : null;
        Length = Shape.Aggregate(1, (product, size) => checked(product * size));
        Check("its first values", json.GetProperty("init_sha"), Initial());
        foreach (JsonProperty step in json.GetProperty("grad_sha").EnumerateObject())
            Check($"its gradient at step {step.Name}", step.Value, Gradient(int.Parse(step.Name, System.Globalization.CultureInfo.InvariantCulture)));
    }

    /// <summary>Its name in the case.</summary>
    public string Name { get; }

    /// <summary>Its sizes.</summary>
    public int[] Shape { get; }

    /// <summary>Of the hash.</summary>
    public uint Seed { get; }

    /// <summary>Of the hash of a second kind of gradients; null without them.</summary>
    public uint? AuxiliarySeed { get; }

    /// <summary>The number of elements.</summary>
    public int Length { get; }

    /// <summary>The largest absolute value at the start and after all recorded steps: M of the tolerances.</summary>
    public double Largest => golden.RecordedSteps.Select(ExpectedParameter).Append(Initial()).Max(GoldenTolerance.Largest);

    /// <summary>The steps, from 1, at which the projection was renewed; empty without one.</summary>
    public int[] RefreshSteps => golden.RefreshSteps(Name);

    /// <summary>Our names of the recorded states, such as <c>exp_avg</c>.</summary>
    public IEnumerable<string> States
    {
        get
        {
            string prefix = $"state.{Name}.";
            return golden.File.Tensors.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)).Select(key => GoldenOptimizers.StateName(golden.Optimizer, key[prefix.Length..])).Order(StringComparer.Ordinal);
        }
    }

    /// <summary>24 random bits of an element at a step; arithmetic wraps at 32 bits.</summary>
    public static uint Hash(uint seed, uint step, uint index)
    {
        uint x = seed * 0x9E3779B1 + step * 0x85EBCA77 + index * 0xC2B2AE3D;
        x = (x ^ x >> 16) * 0x7FEB352D;
        x = (x ^ x >> 15) * 0x846CA68B;
        return (x ^ x >> 16) >> 8;
    }

    /// <summary>The values before the first step, in [-½, ½), or zeros where the case starts there.</summary>
    public float[] Initial() => golden.StartsAtZero ? new float[Length] : InitialOf(Seed, Length);

    /// <summary>The gradient of a step, from 1: a constant part, a part that changes, smaller in some rows, and smaller at some steps.</summary>
    public float[] Gradient(int step) => golden.ZeroSteps.Contains(step) ? new float[Length] : GradientOf(Seed, Shape, step, golden.HugeSteps.Contains(step));

    /// <summary>The second gradient of a step, which is never zero or huge.</summary>
    public float[] AuxiliaryGradient(int step) => GradientOf(AuxiliarySeed ?? throw new UserException($"{Name} has no aux_seed, so it has no second gradients"), Shape, step, isHuge: false);

    /// <summary>The initial values that <see cref="Initial"/> derives from a seed.</summary>
    internal static float[] InitialOf(uint seed, int length) => Fill(length, i => ((int)Hash(seed, uint.MaxValue, i) - (1 << 23)) * (1f / (1 << 24)));

    /// <summary>The gradients that <see cref="Gradient"/> derives from a seed.</summary>
    internal static float[] GradientOf(uint seed, IReadOnlyList<int> shape, int step, bool isHuge)
    {
        uint columns = (uint)(shape.Count >= 2 ? shape[^1] : int.MaxValue);
        return Fill(shape.Aggregate(1, (product, size) => product * size), i =>
        {
            double value = ((long)Hash(seed, 0, i) + Hash(seed, (uint)step, i) - (1 << 24)) * Math.ScaleB(1, -24 - (int)(i / columns % 3));
            return isHuge ? (float)value * 10000f : (float)(value * Math.ScaleB(1, -(3 * step % 5)));
        });
    }

    /// <summary>The values after a recorded step.</summary>
    public float[] ExpectedParameter(int step) => Expected("param", step);

    /// <summary>The values after a recorded step: those of training (param) or for evaluation (eval).</summary>
    public float[] Expected(string kind, int step) => golden.File.ReadF32($"{kind}.{Name}.step{step}");

    /// <summary>A state after the last step: a recorded tensor, or a single number.</summary>
    /// <returns>Null when the case has none of this name.</returns>
    public float[]? ExpectedState(string state)
    {
        foreach (string recorded in GoldenOptimizers.RecordedNames(golden.Optimizer, state))
        {
            string tensor = $"state.{Name}.{recorded}";
            if (golden.File.Tensors.ContainsKey(tensor))
                return golden.File.ReadF32(tensor);
            if (golden.FinalScalars(Name).TryGetProperty(recorded, out JsonElement scalar) && scalar.ValueKind == JsonValueKind.Number)
                return [(float)scalar.GetDouble()];
        }

        return null;
    }

    /// <summary>A projection by its number, in force from that one of <see cref="RefreshSteps"/> on.</summary>
    /// <param name="refresh">From 0.</param>
    /// <param name="second">The right one of two.</param>
    public float[] Projection(long refresh, bool second = false)
    {
        string name = $"proj.{Name}.{refresh}";
        return golden.File.ReadF32(golden.File.Tensors.ContainsKey(name) ? name : name + (second ? ".B" : ".A"));
    }

    /// <summary>A basis whose columns are directions: the first one of an iteration, or that of an axis by its refresh.</summary>
    public float[] Basis(long refresh, int axis)
    {
        string first = $"init.{Name}.Q";
        return golden.File.ReadF32(golden.File.Tensors.ContainsKey(first) ? first : $"proj.{Name}.{refresh}.{axis}");
    }

    /// <summary>A mask of zeros and ones by its number, in force from that one of <see cref="RefreshSteps"/> on.</summary>
    public float[] Mask(int refresh) => golden.File.ReadF32($"mask.{Name}.{refresh}");

    /// <summary>The elements under the last mask, which alone are recorded; all of them where there is no mask.</summary>
    public float[] Kept(float[] values)
    {
        int masks = golden.File.Tensors.Keys.Count(key => key.StartsWith($"mask.{Name}.", StringComparison.Ordinal));
        if (masks == 0 || values.Length != Length)
            return values;
        float[] mask = Mask(masks - 1);
        return [.. values.Where((_, i) => mask[i] != 0)];
    }

    /// <summary>The number of the projection in force at a step, from 1.</summary>
    public int RefreshAt(int step) => Array.FindLastIndex(RefreshSteps, refresh => refresh <= step);

    private static float[] Fill(int length, Func<uint, float> element)
    {
        var result = new float[length];
        for (int i = 0; i < result.Length; i++)
            result[i] = element((uint)i);
        return result;
    }

    /// <summary>The index holds the beginning of the SHA-256 of what the hash must make.</summary>
    private void Check(string what, JsonElement expected, float[] values)
    {
        string actual = Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes<float>(values)))[..16];
        if (actual != expected.GetString())
            throw new UserException($"{golden.Name}, {Name}: {what} should hash to {expected.GetString()}, but the formula makes {actual}; the index belongs to another version of the goldens");
    }
}
