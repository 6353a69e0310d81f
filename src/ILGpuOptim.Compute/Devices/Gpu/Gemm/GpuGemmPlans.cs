using System.Text.Json;
using System.Text.Json.Serialization;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The plan of a product: the tile of a group and the number of parts that k is split into.</summary>
/// <param name="Tile">Rows × columns, such as <c>128x64</c>, or <see cref="FewRows"/>.</param>
/// <param name="Parts">1: one group runs over all of k.</param>
internal readonly record struct GpuGemmPlan(string Tile, int Parts)
{
    /// <summary>The available tiles.</summary>
    public static readonly string[] Tiles = ["128x128", "128x64", "64x128", "64x64"];

    /// <summary>The plan's name in place of a tile for products of few rows (<see cref="GpuGemmRows"/>).</summary>
    public const string FewRows = "rows";

    public bool IsFewRows => Tile == FewRows;

    public int Rows => Tile.StartsWith("128", StringComparison.Ordinal) ? 128 : 64;

    public int Columns => Tile.EndsWith("128", StringComparison.Ordinal) ? 128 : 64;
}

/// <summary>The size of a product, which factors are transposed, and how they are multiplied: on tensor cores if not in f32.</summary>
internal readonly record struct GpuGemmSize(int M, int N, int K, int Batch, bool TransposeA, bool TransposeB, Precision Precision = Precision.F32)
{
    /// <summary>Orientation and precision as a name, such as <c>NT</c> or <c>NT bf16</c>.</summary>
    public string Form => $"{(TransposeA ? 'T' : 'N')}{(TransposeB ? 'T' : 'N')}{Precision switch { Precision.TF32 => " tf32", Precision.BF16 => " bf16", _ => "" }}";

    /// <summary>Columns of a group if the product can be computed by <see cref="GpuGemmRows"/>: it has few rows, and B is transposed or can be read in units of 16 bytes; else 0.</summary>
    public int RowColumns { get; init; }

    /// <summary>Steps of k that a group reads at once.</summary>
    public int Depth => Precision switch { Precision.TF32 => GpuGemmTensor.StripBytes / 4, Precision.BF16 => GpuGemmTensor.StripBytes / 2, _ => GpuGemmTiles.Depth };
}

/// <summary>
/// Chooses plans: the one measured for the nearest size, from the table that <c>ilgpuoptim tune</c> writes for a device,
/// else by a cost model. A plan sets the order of additions, so results repeat bit for bit with one table.
/// </summary>
internal sealed partial class GpuGemmPlans(int multiprocessors, string? table)
{
    /// <summary>The minimum length of a part of k.</summary>
    public const int ShortestPart = 128;

    /// <summary>The most parts that a rule splits k into.</summary>
    private const int MostParts = 64;

    /// <summary>A measured size applies if the log2 ratios of its dimensions sum to at most this.</summary>
    private const double Near = 1.5;

    private readonly Dictionary<GpuGemmSize, GpuGemmPlan> plans = [];
    private readonly Entry[] measured = Read(table);

    /// <summary>If not null, the plan of every product: for measurements.</summary>
    public GpuGemmPlan? Forced { get; set; }

    /// <summary>The sizes of the products so far.</summary>
    public IReadOnlyCollection<GpuGemmSize> Met => plans.Keys;

    /// <summary>The path of a device's table.</summary>
    public static string PathOf(string device) => Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData, Environment.SpecialFolderOption.DoNotVerify),
        "ilgpuoptim",
        $"products-{string.Concat(device.Select(c => char.IsAsciiLetterOrDigit(c) ? char.ToLowerInvariant(c) : '-'))}.json");

    /// <summary>Writes a table atomically.</summary>
    public static void Write(string path, IEnumerable<(GpuGemmSize Size, GpuGemmPlan Plan)> measured)
    {
        Entry[] entries = [.. measured.Select(x => new Entry(x.Size.M, x.Size.N, x.Size.K, x.Size.Batch, x.Size.Form, x.Plan.Tile, x.Plan.Parts))];
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        string partial = $"{path}.{Guid.NewGuid():N}";
        File.WriteAllText(partial, JsonSerializer.Serialize(entries, Json.Default.EntryArray));
        File.Move(partial, path, overwrite: true);
    }

    /// <summary>The plan for a size; always the same one.</summary>
    public GpuGemmPlan For(GpuGemmSize size)
    {
        if (Forced is { } forced && (!forced.IsFewRows || size.RowColumns > 0))
            return Limited(forced, size);
        if (!plans.TryGetValue(size, out GpuGemmPlan plan))
            plans[size] = plan = Measured(size) ?? ByRule(size);
        return plan;
    }

    /// <summary>The plans that are compared.</summary>
    public static IEnumerable<GpuGemmPlan> Candidates(GpuGemmSize size) =>
        from tile in (string[])[.. size.RowColumns > 0 ? (string[])[GpuGemmPlan.FewRows] : [], .. GpuGemmPlan.Tiles]
        from parts in (int[])[1, 2, 3, 4, 6, 8, 12, 16]
        where parts == 1 || size.K / parts >= ShortestPart
        select new GpuGemmPlan(tile, parts);

    /// <summary>Few rows are split until each multiprocessor has four groups; else the plan with the least estimated time.</summary>
    private GpuGemmPlan ByRule(GpuGemmSize size)
    {
        if (size.RowColumns == 0)
            return Candidates(size).MinBy(plan => Estimate(size, plan));
        long groups = (long)size.Batch * ((size.M + GpuGemmRows.Rows - 1) / GpuGemmRows.Rows) * ((size.N + size.RowColumns - 1) / size.RowColumns);
        return Limited(new GpuGemmPlan(GpuGemmPlan.FewRows, (int)Math.Min(MostParts, (4L * multiprocessors + groups - 1) / groups)), size);
    }

    /// <summary>The plan with no part of k shorter than <see cref="ShortestPart"/>.</summary>
    private static GpuGemmPlan Limited(in GpuGemmPlan plan, in GpuGemmSize size) => plan with { Parts = Math.Clamp(plan.Parts, 1, Math.Max(1, size.K / ShortestPart)) };

    /// <summary>
    /// The estimated time of a plan, in steps of k of a multiprocessor on a 128 × 128 tile. Groups run in waves that fill the device; a partial last
    /// wave hides less latency. Smaller tiles read more per product; parts of k are written, and read by one more launch. On tensor cores steps are
    /// shorter by a factor of about four (tf32) or eight (bf16), so that memory counts that much more; those two are not measured.
    /// </summary>
    private double Estimate(GpuGemmSize size, GpuGemmPlan plan)
    {
        double tile = plan.Rows * plan.Columns / (128.0 * 128.0), speed = size.Precision switch { Precision.TF32 => 4, Precision.BF16 => 8, _ => 1 };
        double reading = speed == 1 ? 1 : 2, effort = plan.Rows == plan.Columns ? plan.Rows == 128 ? 1 : 1 + 0.2 * reading : 1 + 0.08 * reading;
        int together = (int)(2 / tile);
        long slots = (long)multiprocessors * together, groups = Groups(size, plan) * plan.Parts, left = groups % slots;
        double waves = groups / slots + (left == 0 ? 0 : 0.2 + 0.8 * ((left + multiprocessors - 1) / multiprocessors) / together);
        double steps = Math.Max(1, (double)size.K / plan.Parts);
        double extra = plan.Parts == 1 ? 0 : 40 + (double)size.Batch * size.M * size.N * plan.Parts / (128.0 * 128.0 * multiprocessors) * 66;
        return waves * 2 * steps * effort + extra * speed;
    }

    private GpuGemmPlan? Measured(GpuGemmSize size)
    {
        (double distance, Entry? nearest) = (double.PositiveInfinity, null);
        foreach (Entry entry in measured)
        {
            double far = Doublings(entry.M, size.M) + Doublings(entry.N, size.N) + Doublings(entry.K, size.K) + Doublings(entry.Batch, size.Batch);
            if (entry.Form == size.Form && far < distance && (entry.Tile != GpuGemmPlan.FewRows || size.RowColumns > 0))
                (distance, nearest) = (far, entry);
        }

        return nearest is null || distance > Near ? null : Limited(new GpuGemmPlan(nearest.Tile, nearest.Parts), size);
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
            Entry[] entries = JsonSerializer.Deserialize(File.ReadAllText(path), Json.Default.EntryArray) ?? [];
            if (Array.TrueForAll(entries, entry => entry is { M: > 0, N: > 0, K: > 0, Batch: > 0, Parts: > 0 } && (entry.Tile == GpuGemmPlan.FewRows || GpuGemmPlan.Tiles.Contains(entry.Tile))))
                return entries;
        }
        catch (JsonException)
        {
        }

        throw new DeviceException($"{path}: this is not a table of product plans; remove it, or write a new one with `ilgpuoptim tune`");
    }

    internal sealed record Entry(int M, int N, int K, int Batch, string Form, string Tile, int Parts);

    /// <summary>The generated serializer of a table.</summary>
    [JsonSourceGenerationOptions(WriteIndented = true)]
    [JsonSerializable(typeof(Entry[]))]
    private sealed partial class Json : JsonSerializerContext;
}
