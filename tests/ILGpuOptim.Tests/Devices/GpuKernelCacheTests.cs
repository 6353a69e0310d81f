using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Sources of kernels that are kept between runs.</summary>
public sealed partial class GpuKernelCacheTests : IDisposable
{
    private static readonly KernelSpecialization Limits = new(128, 3);

    private readonly TemporaryFolder folder = new();

    private static MethodInfo Dot => typeof(GpuAttentionTiles).GetMethod(nameof(GpuAttentionTiles.Dot))!;

    public void Dispose() => folder.Dispose();

    /// <summary>The other tests compile what they test, and write nothing into the user's folders.</summary>
    [ModuleInitializer]
    internal static void SwitchOff() => Environment.SetEnvironmentVariable(GpuKernelCache.Variable, "off");

    [Theory]
    [InlineData("ptx")]
    [InlineData("opencl")]
    public void ASecondRunReadsWhatTheFirstCompiled(string target)
    {
        string compiled = Compile(target, folder.Path), key = Replace(source => source with { Text = source.Text + "// kept" });
        Assert.Equal(compiled + "// kept", Compile(target, folder.Path));
        Assert.Equal(compiled, Compile(target, null));
        Assert.Contains(typeof(GpuKernelCache).Module.ModuleVersionId.ToString(), key, StringComparison.Ordinal);
    }

    [Fact]
    public void DamagedAndForeignFilesAreCompiledAgain()
    {
        string compiled = Compile("ptx", folder.Path), path = Assert.Single(Directory.GetFiles(folder.Path));
        byte[] whole = File.ReadAllBytes(path);
        var random = new Random(1);
        List<byte[]> damaged = [[], [1], whole[..^1], whole[..(whole.Length / 2)], [.. whole, 0], "ILGpuOptim kernel 2"u8.ToArray()];
        for (int i = 0; i < 50; i++)
        {
            byte[] copy = [.. whole];
            copy[random.Next(copy.Length)] ^= (byte)(1 << random.Next(8));
            damaged.Add(copy);
        }

        foreach (byte[] bytes in damaged)
        {
            File.WriteAllBytes(path, bytes);
            Assert.Equal(compiled, Compile("ptx", folder.Path));
            Assert.NotNull(new GpuKernelCache(folder.Path).Read(Key("ptx")));
        }

        // A whole file under the name of another key.
        Compile("opencl", folder.Path);
        string other = Assert.Single(Directory.GetFiles(folder.Path), file => file != path);
        File.Copy(other, path, overwrite: true);
        Assert.Equal(compiled, Compile("ptx", folder.Path));

        // A source with another entry point.
        new GpuKernelCache(folder.Path).Write(Key("ptx"), new GpuKernelSource(".entry Another()", 0, 0));
        Assert.Equal(compiled, Compile("ptx", folder.Path));
    }

    [Fact]
    public void KeysTellKernelsConstantsLimitsAndTargetsApart()
    {
        MethodInfo map = typeof(GpuMapKernels).GetMethods(BindingFlags.Public | BindingFlags.Static).First(method => method.IsGenericMethodDefinition && method.GetGenericArguments().Length == 1);
        string[] keys =
        [
            GpuKernelCache.Key("a", Dot, [new SpecializedValue<int>(1)], Limits), GpuKernelCache.Key("b", Dot, [new SpecializedValue<int>(1)], Limits),
            GpuKernelCache.Key("a", Dot, [new SpecializedValue<int>(2)], Limits), GpuKernelCache.Key("a", Dot, [new SpecializedValue<int>(1)], new KernelSpecialization(128, 2)),
            GpuKernelCache.Key("a", map.MakeGenericMethod(typeof(Lift2<AddRule>)), [], Limits), GpuKernelCache.Key("a", map.MakeGenericMethod(typeof(Lift1<KeepRule>)), [], Limits),
        ];
        Assert.Equal(keys.Length, keys.Distinct().Count());
        Assert.All(keys, key => Assert.Contains(typeof(Context).Module.ModuleVersionId.ToString(), key, StringComparison.Ordinal));
    }

    [Fact]
    public void NothingIsKeptInAFolderThatCannotBeWritten()
    {
        string file = folder["file"];
        File.WriteAllText(file, "");
        Assert.Equal(Compile("ptx", null), Compile("ptx", Path.Combine(file, "kernels")));
    }

    [Fact]
    public void FilesThatNoRunUsesAreDeleted()
    {
        string old = folder["old"], recent = folder["recent"];
        File.WriteAllText(old, "");
        File.WriteAllText(recent, "");
        File.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddDays(-61));
        File.SetLastWriteTimeUtc(recent, DateTime.UtcNow.AddDays(-59));
        Compile("ptx", folder.Path);
        Assert.False(File.Exists(old));
        Assert.True(File.Exists(recent));

        // Reading counts as use.
        string kept = Assert.Single(Directory.GetFiles(folder.Path), path => path != recent);
        File.SetLastWriteTimeUtc(kept, DateTime.UtcNow.AddDays(-50));
        Compile("ptx", folder.Path);
        Assert.True(File.GetLastWriteTimeUtc(kept) > DateTime.UtcNow.AddDays(-1));
    }

    private static string Key(string target)
    {
        using var compiler = GpuCompiler.For(target, 80);
        return compiler.KeyOf(Dot, [new SpecializedValue<int>(0)], Limits);
    }

    private static string Compile(string target, string? folder)
    {
        using var compiler = GpuCompiler.For(target, 80, folder is null ? null : new GpuKernelCache(folder));
        return Numbers().Replace(compiler.Source(new RecordedKernel(Dot, [new SpecializedValue<int>(0)], 64, Limits)), "#");
    }

    /// <summary>ILGPU numbers names in the order in which a process makes them.</summary>
    [GeneratedRegex("[0-9]+")]
    private static partial Regex Numbers();

    /// <summary>Changes the kept source, and returns its key.</summary>
    private string Replace(Func<GpuKernelSource, GpuKernelSource> change)
    {
        var cache = new GpuKernelCache(folder.Path);
        string name = Path.GetFileName(Assert.Single(Directory.GetFiles(folder.Path)));
        foreach (string target in KernelRecorder.Targets)
        {
            string key = Key(target);
            if (cache.Read(key) is not { } source)
                continue;
            cache.Write(key, change(source));
            Assert.Equal(name, Path.GetFileName(Assert.Single(Directory.GetFiles(folder.Path))));
            return key;
        }

        throw new InvalidOperationException("nothing was kept");
    }
}

/// <summary>A device that opens with the kernels of an earlier run. Stamped on each kind below.</summary>
public abstract class GpuKernelReuseTests(string kind)
{
    [Fact]
    public void KeptKernelsComputeTheSame()
    {
        using var folder = new TemporaryFolder();
        Environment.SetEnvironmentVariable(GpuKernelCache.Variable, folder.Path);
        try
        {
            float[] first = Compute(kind);
            string[] files = Directory.GetFiles(folder.Path);
            Assert.NotEmpty(files);
            DateTime[] written = [.. files.Select(File.GetLastWriteTimeUtc)];
            Assert.Equal(first, Compute(kind));
            Assert.Equal(files.Order(), Directory.GetFiles(folder.Path).Order());
            Assert.Equal(written, files.Select(File.GetLastWriteTimeUtc));
        }
        finally
        {
            Environment.SetEnvironmentVariable(GpuKernelCache.Variable, "off");
        }
    }

    private static float[] Compute(string kind)
    {
        using ILGpuOptim.Compute.Device device = ILGpuOptim.Compute.Devices.Open(kind);
        Block a = device.Pool.Rent(37 * 64), b = device.Pool.Rent(50 * 64), c = device.Pool.Rent(37 * 50);
        device.Random(a, RandomKind.Normal, 1, 1, 1);
        device.Random(b, RandomKind.Normal, 1, 1, 2);
        device.Gemm(new GemmArguments(a, b, c, 37, 50, 64) { TransposeB = true }, new AddRule(), Operand.PerColumn(a));
        device.Map(new AddRule(), 1, 64, a, b);
        device.AttentionForward(new AttentionArguments(b, b, b, a) { Batch = 1, Heads = 2, KeyHeads = 2, HeadSize = 32, QueryLength = 37, KeyLength = 37, QueryStride = 64, KeyStride = 64, OutputStride = 64, Scale = 1, Causal = true });
        var result = new float[c.Length + a.Length];
        device.Download(c, result.AsSpan(0, (int)c.Length));
        device.Download(a, result.AsSpan((int)c.Length));
        return result;
    }
}

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClKernelReuseTests : GpuKernelReuseTests
{
    public OpenClKernelReuseTests() : base("opencl") => Gpu.OpenCl();
}

[Collection("gpu"), Trait("device", "cuda")]
public class CudaKernelReuseTests : GpuKernelReuseTests
{
    public CudaKernelReuseTests() : base("cuda") => Gpu.Cuda();
}
