using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The source of a compiled kernel, and what ILGPU needs beside it to load it.</summary>
/// <param name="Text">PTX or OpenCL C.</param>
/// <param name="SharedBytes">Bytes of static shared memory.</param>
/// <param name="FieldsPerView">OpenCL: the number of arguments that a view becomes; PTX: 0.</param>
internal readonly record struct GpuKernelSource(string Text, int SharedBytes, int FieldsPerView);

/// <summary>
/// Keeps the sources of compiled kernels in a folder between runs, because ILGPU takes a tenth of a second for each. Drivers keep the machine code of a
/// source in caches of their own. A file that is damaged, or belongs to another key, is ignored and replaced. Nothing is kept
/// in a folder that cannot be read or written.
/// </summary>
internal sealed class GpuKernelCache(string folder)
{
    /// <summary>The environment variable that names another folder, or <c>off</c>.</summary>
    public const string Variable = "ILGPUOPTIM_KERNEL_CACHE";

    private const string Magic = "ILGpuOptim kernel 1";

    /// <summary>Files that no run has used for so long are deleted.</summary>
    private static readonly TimeSpan Unused = TimeSpan.FromDays(60);

    /// <summary>For each assembly, what <see cref="BuildsOf"/> returns: the same for all kernels of a run.</summary>
    private static readonly ConcurrentDictionary<Assembly, IReadOnlyList<string>> Builds = new();

    private bool isPruned;

    /// <summary>The cache of this user; null when it is switched off, or the system has no place for it.</summary>
    public static GpuKernelCache? OfUser()
    {
        string? folder = Environment.GetEnvironmentVariable(Variable);
        if (string.IsNullOrEmpty(folder))
            folder = CacheRoot() is { } root ? Path.Combine(root, "ilgpuoptim", "kernels") : null;
        return folder is null or "off" ? null : new GpuKernelCache(folder);
    }

    /// <summary>Identifies a kernel: the target, the method with its rule, the values of its constants, its launch bounds, and the builds of all assemblies that its code may come from.</summary>
    public static string Key(string target, MethodInfo kernel, IReadOnlyList<object> constants, in KernelSpecialization limits)
    {
        var builds = new SortedSet<string>(StringComparer.Ordinal);
        Add(builds, kernel.DeclaringType!);
        foreach (Type argument in kernel.GetGenericArguments())
            Add(builds, argument);
        return string.Join('\n',
        [
            target, Environment.Version.ToString(), $"{kernel.DeclaringType!.AssemblyQualifiedName} {kernel.Name}", .. kernel.GetGenericArguments().Select(type => type.AssemblyQualifiedName!),
            .. constants.Select(constant => $"{constant}"), $"{limits.MaxNumThreadsPerGroup} {limits.MinNumGroupsPerMultiprocessor}", .. builds,
        ]);
    }

    /// <summary>The source that was kept for a key, or null.</summary>
    public GpuKernelSource? Read(string key)
    {
        try
        {
            string path = PathOf(key);
            if (!File.Exists(path))
                return null;
            byte[] bytes = File.ReadAllBytes(path);
            using var reader = new BinaryReader(new MemoryStream(bytes));
            if (reader.ReadString() != Magic)
                return null;
            byte[] digest = reader.ReadBytes(SHA256.HashSizeInBytes);
            if (!digest.AsSpan().SequenceEqual(SHA256.HashData(bytes.AsSpan((int)reader.BaseStream.Position))) || reader.ReadString() != key)
                return null;
            var source = new GpuKernelSource(reader.ReadString(), reader.ReadInt32(), reader.ReadInt32());
            if (File.GetLastWriteTimeUtc(path) < DateTime.UtcNow.AddDays(-1))
                File.SetLastWriteTimeUtc(path, DateTime.UtcNow);
            return source;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            return null;
        }
    }

    /// <summary>Keeps a source.</summary>
    public void Write(string key, in GpuKernelSource source)
    {
        var stream = new MemoryStream();
        using (var writer = new BinaryWriter(stream))
        {
            writer.Write(key);
            writer.Write(source.Text);
            writer.Write(source.SharedBytes);
            writer.Write(source.FieldsPerView);
        }

        byte[] content = stream.ToArray();

        try
        {
            Directory.CreateDirectory(folder);
            Prune();

            // Another process reads a whole file or none.
            string temporary = Path.Combine(folder, $"{Guid.NewGuid():N}.partial");
            try
            {
                using (var writer = new BinaryWriter(File.Create(temporary)))
                {
                    writer.Write(Magic);
                    writer.Write(SHA256.HashData(content));
                    writer.Write(content);
                }

                File.Move(temporary, PathOf(key), overwrite: true);
            }
            finally
            {
                File.Delete(temporary);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }

    /// <summary>Deletes files that no run has used for a long time; once a process.</summary>
    private void Prune()
    {
        if (isPruned)
            return;
        isPruned = true;
        foreach (string path in Directory.EnumerateFiles(folder))
        {
            if (File.GetLastWriteTimeUtc(path) < DateTime.UtcNow - Unused)
                File.Delete(path);
        }
    }

    private string PathOf(string key) => Path.Combine(folder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key))));

    /// <summary>The folder for data that programs can compute again: the user's, or null.</summary>
    private static string? CacheRoot()
    {
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string root = OperatingSystem.IsWindows() ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
            : Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache && Path.IsPathRooted(cache) ? cache
            : home.Length == 0 ? "" : Path.Combine(home, OperatingSystem.IsMacOS() ? "Library/Caches" : ".cache");
        return root.Length == 0 ? null : root;
    }

    private static void Add(SortedSet<string> builds, Type type)
    {
        builds.UnionWith(Builds.GetOrAdd(type.Assembly, BuildsOf));
        foreach (Type argument in type.GetGenericArguments())
            Add(builds, argument);
    }

    /// <summary>An assembly and the loaded ones that it refers to, each with an identifier of its build: another for every build with other code.</summary>
    private static IReadOnlyList<string> BuildsOf(Assembly assembly)
    {
        var assemblies = new HashSet<Assembly>();
        Add(assemblies, assembly);
        return [.. assemblies.Select(found => $"{found.FullName} {found.ManifestModule.ModuleVersionId}")];
    }

    /// <summary>Adds an assembly and the loaded ones that it refers to, without those of .NET, which <see cref="Environment.Version"/> identifies.</summary>
    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = GpuDevices.NeedsDynamicCode)]
    private static void Add(HashSet<Assembly> assemblies, Assembly assembly)
    {
        if (assembly.GetName().Name is { } name && (name is "mscorlib" or "netstandard" || name.StartsWith("System.", StringComparison.Ordinal)) || !assemblies.Add(assembly))
            return;
        HashSet<string> references = [.. assembly.GetReferencedAssemblies().Select(reference => reference.FullName)];
        foreach (Assembly loaded in AppDomain.CurrentDomain.GetAssemblies())
        {
            if (references.Contains(loaded.FullName!))
                Add(assemblies, loaded);
        }
    }
}
