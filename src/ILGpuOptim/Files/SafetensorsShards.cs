namespace ILGpuOptim.Files;

/// <summary>
/// The weights of a model in several files: the index <c>model.safetensors.index.json</c> maps each tensor's name to the
/// file (shard) that contains it, in the same folder.
/// </summary>
internal sealed class SafetensorsShards : Safetensors
{
    private readonly Dictionary<string, SafetensorsFile> shards = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SafetensorsFile> owners = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SafetensorsEntry> tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);

    private SafetensorsShards(string path) : base(path)
    {
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, SafetensorsEntry> Tensors => tensors;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>The shards, in the order in which the index names them.</summary>
    public IEnumerable<string> Files => shards.Values.Select(shard => shard.Path);

    /// <summary>Opens an index and every shard that it names.</summary>
    /// <exception cref="SafetensorsException">The index or a shard is missing or damaged, or a shard lacks a tensor.</exception>
    public static new SafetensorsShards Open(string path)
    {
        var result = new SafetensorsShards(path);
        try
        {
            JsonFields index = JsonFields.Open(path, SafetensorsHeader.MaxBytes), map = index.RequiredObject("weight_map");
            index.Ignore("metadata");
            index.Finish();
            foreach (string name in map.Names)
                result.Add(name, map.RequiredText(name));
            result.CheckComplete();
            return result;
        }
        catch (UserException e) when (e is not SafetensorsException)
        {
            result.Dispose();
            throw new SafetensorsException($"{e.Message}. The index of safetensors shards is damaged, download it again", e);
        }
        catch
        {
            result.Dispose();
            throw;
        }
    }

    /// <summary>Refuses shards with a tensor that is not in the index: it would be ignored.</summary>
    private void CheckComplete()
    {
        foreach (SafetensorsFile shard in shards.Values)
        {
            if (shard.Tensors.Keys.FirstOrDefault(name => !owners.TryGetValue(name, out SafetensorsFile? owner) || owner != shard) is { } name)
                throw new SafetensorsException($"{Path}: {name} of {shard.Path} is not in the index; download both again");
        }
    }

    private void Add(string name, string file)
    {
        // A shard is in the folder of its index, so that a downloaded model cannot refer to other files.
        if (file.Length == 0 || file is "." or ".." || file.AsSpan().IndexOfAny('/', '\\', '\0') >= 0)
            throw new SafetensorsException($"{Path}: the tensor {name} must have a plain file name, not \"{file}\"; the index is damaged, download it again");
        if (!shards.TryGetValue(file, out SafetensorsFile? shard))
        {
            shard = SafetensorsFile.Open(System.IO.Path.Combine(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!, file));
            shards.Add(file, shard);
            foreach ((string key, string value) in shard.Metadata)
                metadata.TryAdd(key, value);
        }

        if (!shard.Tensors.TryGetValue(name, out SafetensorsEntry? entry))
            throw new SafetensorsException($"{Path}: the tensor {name} is not in {file}, as the index states; download both again");
        if (!tensors.TryAdd(name, entry))
            throw new SafetensorsException($"{Path}: the tensor {name} appears twice; the index is damaged, download it again");
        owners.Add(name, shard);
    }

    /// <inheritdoc/>
    public override byte[] ReadBytes(string name) => Owner(name).ReadBytes(name);

    /// <inheritdoc/>
    public override void ReadBytes(string name, long start, Span<byte> target) => Owner(name).ReadBytes(name, start, target);

    /// <inheritdoc/>
    public override void ReadF32(string name, Span<float> target) => Owner(name).ReadF32(name, target);

    /// <inheritdoc/>
    public override int[] ReadI32(string name) => Owner(name).ReadI32(name);

    private SafetensorsFile Owner(string name) => owners.TryGetValue(name, out SafetensorsFile? shard) ? shard : throw Missing(name);

    /// <summary>Closes every shard.</summary>
    protected override void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        foreach (SafetensorsFile shard in shards.Values)
            shard.Dispose();
    }
}
