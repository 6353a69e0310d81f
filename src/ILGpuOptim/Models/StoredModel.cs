using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// The places of a model's parameters in a file: each in its own tensor, or, for experts, within a tensor that packs those of a layer. Only the
/// header is read until <see cref="Load"/>.
/// </summary>
internal sealed class StoredModel
{
    private readonly Safetensors file;
    private readonly List<(Parameter Parameter, string Tensor, long? Offset)> parts = [];

    /// <summary>Finds the tensors of a model's parameters.</summary>
    /// <param name="file">The file.</param>
    /// <param name="model">The model.</param>
    /// <exception cref="UserException">A tensor is missing, has another shape, or belongs to no parameter.</exception>
    public StoredModel(Safetensors file, LanguageModel model)
    {
        this.file = file;
        ModelConfig config = model.Config;
        var names = new TensorNames(file, config);
        ILookup<string, string> copies = config.TiedCopies.ToLookup(copy => copy.Value, copy => copy.Key);
        string? Find(string parameter) => names.Find(parameter) ?? copies[parameter].Select(names.Find).FirstOrDefault(name => name is not null);

        Dictionary<string, PackedPart> packed = config.Describe() is { } description ? PackedPart.Of(description) : [];
        var missing = new List<string>();
        foreach (Parameter parameter in model.Parameters)
        {
            if (Find(parameter.Name) is { } name)
                Add(parameter, name, StoredParameter.ShapeOf(parameter), null);
            else if (packed.TryGetValue(parameter.Name, out PackedPart part) && names.Find(part.Tensor) is { } tensor)
                Add(parameter, tensor, part.Shape, part.Offset);
            else
                missing.Add(parameter.Name);
        }

        if (missing.Count > 0)
            throw new SafetensorsException($"{file.Path}: there is no tensor {TensorNames.List(missing)}; the file belongs to another model than its config.json");
        Copies = [.. config.TiedCopies
            .Select(copy => (Copy: names.Find(copy.Key), Original: Find(copy.Value)!))
            .Where(pair => pair.Copy is not null && pair.Copy != pair.Original)
            .Select(pair => (pair.Copy!, pair.Original))];
        IEnumerable<string> used = parts.SelectMany(part => part.Offset is null ? StoredParameter.Names(file, part.Tensor) : [part.Tensor]);
        names.CheckOthers(used.Concat(Copies.Select(pair => pair.Copy)), [.. config.IgnoredTensors, .. config.OtherHeads]);
        Unused = names.Matching(config.OtherHeads);
    }

    /// <summary>Tensors that must have the same values as another one.</summary>
    public IReadOnlyList<(string Copy, string Original)> Copies { get; }

    /// <summary>Tensors that only other heads use.</summary>
    public IReadOnlyList<string> Unused { get; }

    /// <summary>Fills the parameters; each tensor is read once.</summary>
    public void Load()
    {
        foreach (var group in parts.GroupBy(part => part.Tensor))
        {
            float[]? values = null;
            foreach ((Parameter parameter, string tensor, long? offset) in group)
            {
                if (offset is not { } start)
                    StoredParameter.Load(file, tensor, parameter);
                else
                    parameter.Load((values ??= file.ReadF32(tensor)).AsSpan(checked((int)start), checked((int)parameter.Length)));
            }
        }
    }

    private void Add(Parameter parameter, string tensor, IReadOnlyList<int> shape, long? offset)
    {
        if (!file[tensor].Shape.SequenceEqual(shape.Select(size => (long)size)))
            throw new SafetensorsException($"{file.Path}: {tensor} is {string.Join('×', file[tensor].Shape)}, but config.json makes it {(offset is null ? parameter : string.Join('×', shape))}");
        parts.Add((parameter, tensor, offset));
    }
}

/// <summary>A parameter's place in a tensor that packs the experts of a layer.</summary>
/// <param name="Tensor">The tensor's name.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Offset">The parameter's first element.</param>
internal readonly record struct PackedPart(string Tensor, IReadOnlyList<int> Shape, long Offset)
{
    /// <summary>The parameters of a model that files may pack, by name.</summary>
    public static Dictionary<string, PackedPart> Of(TransformerDescription model)
    {
        var result = new Dictionary<string, PackedPart>(StringComparer.Ordinal);
        foreach (FeedForwardDescription part in model.Blocks.Select(block => block.FeedForward))
        {
            if (part.Experts is not { } experts)
                continue;
            int inner = part.IntermediateSize, width = model.HiddenSize;
            long size = (long)inner * width;
            for (int e = 0; e < experts.Count; e++)
            {
                string NameOf(ProjectionDescription projection) => projection.Name.Replace("{e}", $"{e}", StringComparison.Ordinal) + ".weight";
                if (experts.PackedGateUp is { } gateUp && part.Gate is { } gate)
                {
                    result[NameOf(gate)] = new(gateUp, [experts.Count, 2 * inner, width], 2 * e * size);
                    result[NameOf(part.Up)] = new(gateUp, [experts.Count, 2 * inner, width], (2 * e + 1) * size);
                }

                if (experts.PackedDown is { } down)
                    result[NameOf(part.Down)] = new(down, [experts.Count, width, inner], e * size);
            }
        }

        return result;
    }
}
