using System.Text.Json;

namespace PeerBenchmarks.Workloads;

/// <summary>What CLBlast's tuners found on this device: their files <c>clblast_*_32.json</c> in a folder.</summary>
internal sealed class ClBlastTuning
{
    /// <summary>How many of the fastest parameters of a product's kernel each shape may choose from.</summary>
    private const int Candidates = 3;

    /// <summary>The kernels that move matrices: the tuners' name, and the library's.</summary>
    private static readonly (string File, string Kernel)[] Movers = [("copy", "Copy"), ("pad", "Pad"), ("transpose", "Transpose"), ("padtranspose", "Padtranspose")];

    private readonly string folder;

    public ClBlastTuning(string folder)
    {
        this.folder = folder;
        Xgemm = [.. Fastest("xgemm_").Take(Candidates)];
        Direct = [.. Fastest("xgemm_direct_").Take(Candidates)];
        Fixed = [.. Movers.SelectMany(mover => Fastest(mover.File).Take(1).Select(parameters => (mover.Kernel, parameters)))];
    }

    /// <summary>The fastest parameters of the kernel that multiplies prepared factors, best first.</summary>
    public IReadOnlyList<(string Name, nuint Value)[]> Xgemm { get; }

    /// <summary>The same of the kernel that reads the factors as they lie.</summary>
    public IReadOnlyList<(string Name, nuint Value)[]> Direct { get; }

    /// <summary>The best parameters of the kernels that move matrices.</summary>
    public IReadOnlyList<(string Kernel, (string Name, nuint Value)[] Parameters)> Fixed { get; }

    public bool IsEmpty => Xgemm.Count == 0 && Direct.Count == 0;

    public string Description => $"tuned: {string.Join(' ', Xgemm.FirstOrDefault([]).Select(parameter => $"{parameter.Name}={parameter.Value}"))}";

    private IEnumerable<(string, nuint)[]> Fastest(string family)
    {
        if (!Directory.Exists(folder))
            return [];
        return Directory.GetFiles(folder, "clblast_*_32.json").Where(IsOfFamily).SelectMany(Results).OrderBy(result => result.Time).Select(result => result.Parameters);

        bool IsOfFamily(string path)
        {
            string name = Path.GetFileName(path)["clblast_".Length..^"_32.json".Length];
            return family.EndsWith('_') ? name.StartsWith(family) && name[family.Length..].All(char.IsDigit) : name == family;
        }
    }

    private static IEnumerable<(double Time, (string, nuint)[] Parameters)> Results(string path)
    {
        using var file = JsonDocument.Parse(File.ReadAllText(path));
        return [.. file.RootElement.GetProperty("results").EnumerateArray().Select(result => (
            result.GetProperty("time").GetDouble(),
            result.GetProperty("parameters").EnumerateObject().Where(parameter => parameter.Name != "PRECISION").Select(parameter => (parameter.Name, (nuint)parameter.Value.GetUInt64())).ToArray()))];
    }
}
