using System.Text.Json;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>How a product is computed: the tile of a group, and into how many parts k is split.</summary>
/// <param name="Tile">Rows × columns, such as <c>128x64</c>.</param>
/// <param name="Parts">1: one group runs over all of k.</param>
internal readonly record struct GpuGemmPlan(string Tile, int Parts)
{
    /// <summary>The tiles that there are kernels for.</summary>
    public static readonly string[] Tiles = ["128x128", "128x64", "64x128", "64x64"];

    public int Rows => Tile.StartsWith("128", StringComparison.Ordinal) ? 128 : 64;

    public int Columns => Tile.EndsWith("128", StringComparison.Ordinal) ? 128 : 64;
}

/// <summary>The size of a product, and which factors are transposed.</summary>
internal readonly record struct GpuGemmSize(int M, int N, int K, int Batch, bool TransposeA, bool TransposeB);

/// <summary>
/// Chooses plans: the one that was measured for the nearest size, from a small table that <c>ilgpuoptim tune</c> writes for a device,
/// else by a rule. A plan decides the order in which numbers are added, so results repeat bit for bit with one table.
/// </summary>
internal sealed class GpuGemmPlans(int multiprocessors, string? table)
{
    /// <summary>No part of k is shorter.</summary>
    public const int ShortestPart = 128;

    /// <summary>A measured size is near when its sides are within this many doublings, taken together.</summary>
    private const double Near = 1.5;

    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true };

    private readonly Dictionary<GpuGemmSize, GpuGemmPlan> plans = [];
    private readonly Entry[] measured = Read(table);

    /// <summary>What every product uses while it is not null: for measuring.</summary>
    public GpuGemmPlan? Forced { get; set; }

    /// <summary>The sizes so far.</summary>
    public IReadOnlyCollection<GpuGemmSize> Met => plans.Keys;

    /// <summary>Where the table of a device is kept.</summary>
    public static string PathOf(string device) => Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData, Environment.SpecialFolderOption.DoNotVerify),
        "ilgpuoptim",
        $"products-{string.Concat(device.Select(c => char.IsAsciiLetterOrDigit(c) ? char.ToLowerInvariant(c) : '-'))}.json");

    /// <summary>Writes a table whole or not at all.</summary>
    public static void Write(string path, IEnumerable<(GpuGemmSize Size, GpuGemmPlan Plan)> measured)
    {
        Entry[] entries = [.. measured.Select(x => new Entry(x.Size.M, x.Size.N, x.Size.K, x.Size.Batch, $"{(x.Size.TransposeA ? 'T' : 'N')}{(x.Size.TransposeB ? 'T' : 'N')}", x.Plan.Tile, x.Plan.Parts))];
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        string partial = $"{path}.{Guid.NewGuid():N}";
        File.WriteAllText(partial, JsonSerializer.Serialize(entries, Options));
        File.Move(partial, path, overwrite: true);
    }

    /// <summary>The plan of a size; the same each time.</summary>
    public GpuGemmPlan For(GpuGemmSize size)
    {
        if (Forced is { } forced)
            return forced with { Parts = Math.Clamp(forced.Parts, 1, Math.Max(1, size.K / ShortestPart)) };
        if (!plans.TryGetValue(size, out GpuGemmPlan plan))
            plans[size] = plan = Measured(size) ?? ByRule(size);
        return plan;
    }

    /// <summary>Plans worth measuring.</summary>
    public static IEnumerable<GpuGemmPlan> Candidates(GpuGemmSize size) =>
        from tile in GpuGemmPlan.Tiles
        from parts in (int[])[1, 2, 3, 4, 6, 8, 12, 16]
        where parts == 1 || size.K / parts >= ShortestPart
        select new GpuGemmPlan(tile, parts);

    /// <summary>The plan that should take the least time.</summary>
    private GpuGemmPlan ByRule(GpuGemmSize size) => Candidates(size).MinBy(plan => Estimate(size, plan));

    /// <summary>
    /// The time of a plan, in steps of k that a multiprocessor spends on a tile of 128 × 128: groups run in waves that fill the device, and a
    /// last one that may not, and then hides less of its waiting. Smaller tiles read more for each product; parts of k are written and read again by one more launch.
    /// </summary>
    private double Estimate(GpuGemmSize size, GpuGemmPlan plan)
    {
        double tile = plan.Rows * plan.Columns / (128.0 * 128.0), effort = plan.Rows == plan.Columns ? plan.Rows == 128 ? 1 : 1.2 : 1.08;
        int together = (int)(2 / tile);
        long slots = (long)multiprocessors * together, groups = Groups(size, plan) * plan.Parts, left = groups % slots;
        double waves = groups / slots + (left == 0 ? 0 : 0.2 + 0.8 * ((left + multiprocessors - 1) / multiprocessors) / together);
        double steps = Math.Max(1, (double)size.K / plan.Parts);
        double extra = plan.Parts == 1 ? 0 : 40 + (double)size.Batch * size.M * size.N * plan.Parts / (128.0 * 128.0 * multiprocessors) * 66;
        return waves * 2 * steps * effort + extra;
    }

    private GpuGemmPlan? Measured(GpuGemmSize size)
    {
        string form = $"{(size.TransposeA ? 'T' : 'N')}{(size.TransposeB ? 'T' : 'N')}";
        (double distance, Entry? nearest) = (double.PositiveInfinity, null);
        foreach (Entry entry in measured)
        {
            double far = Doublings(entry.M, size.M) + Doublings(entry.N, size.N) + Doublings(entry.K, size.K) + Doublings(entry.Batch, size.Batch);
            if (entry.Form == form && far < distance)
                (distance, nearest) = (far, entry);
        }

        return nearest is null || distance > Near ? null : new GpuGemmPlan(nearest.Tile, Math.Clamp(nearest.Parts, 1, Math.Max(1, size.K / ShortestPart)));
    }

    private static double Doublings(int a, int b) => Math.Abs(Math.Log2((double)a / Math.Max(1, b)));

    private static long Groups(GpuGemmSize size, GpuGemmPlan plan) =>
        (long)size.Batch * ((size.M + plan.Rows - 1) / plan.Rows) * ((size.N + plan.Columns - 1) / plan.Columns);

    private static Entry[] Read(string? path)
    {
        if (path is null || !File.Exists(path))
            return [];
        try
        {
            Entry[] entries = JsonSerializer.Deserialize<Entry[]>(File.ReadAllText(path)) ?? [];
            if (Array.TrueForAll(entries, entry => entry is { M: > 0, N: > 0, K: > 0, Batch: > 0, Parts: > 0 } && GpuGemmPlan.Tiles.Contains(entry.Tile)))
                return entries;
        }
        catch (JsonException)
        {
        }

        throw new DeviceException($"{path}: this is no table of products; remove it, or write it anew with `ilgpuoptim tune`");
    }

    private sealed record Entry(int M, int N, int K, int Batch, string Form, string Tile, int Parts);
}
