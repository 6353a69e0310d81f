using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Models with their tokenizers in GGUF files, the format of llama.cpp.</summary>
public static class GgufModelFile
{
    /// <summary>
    /// Writes a model. Matrices get the type; norms, biases, learned positions and routers stay in f32. Matrices whose rows are no whole blocks of 32 are
    /// written in f16 instead of Q8_0 and Q4_0, and the head in Q8_0 instead of Q4_0.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer; null: the file has none, and programs give it token ids.</param>
    /// <param name="endTokens">Tokens that end a text, the most usual first; may be empty.</param>
    /// <param name="path">The file; it appears whole or not at all.</param>
    /// <param name="type">The type of matrices.</param>
    /// <returns>What a user should know of the file: one sentence each.</returns>
    /// <exception cref="UserException">llama.cpp does not compute the same, by the model or by the tokenizer; or the file cannot be written.</exception>
    public static IReadOnlyList<string> Export(LanguageModel model, ITokenizer? tokenizer, IReadOnlyList<int> endTokens, string path, GgufType type)
    {
        TransformerDescription description = (model as Transformer)?.Description ?? throw new UserException($"{model.Config.Family} is no transformer of the library, so it cannot be exported");
        GgufArchitecture architecture = GgufArchitecture.Of(model.Config).For(model.Config, description);
        var metadata = new GgufModelMetadata(model.Config, description, architecture);
        var notes = new List<string>();
        if (metadata.ContextLength < description.MaxPositions)
            notes.Add($"the context of the file is {metadata.ContextLength} tokens, the model's attention window: llama.cpp has no windows for {model.Config.Family}");
        if (Ops.ActivationNames.Find(description.Blocks[0].FeedForward.Activation) == Ops.Activation.GeluErf)
            notes.Add($"llama.cpp computes {model.Config.Family}'s gelu by its tanh approximation");
        (string Name, float[] Values)[] constants = [.. metadata.Constants()];
        GgufTensor[] tensors = [.. GgufTensors.Of(description, architecture)];
        if (tensors.Any(tensor => tensor.Rows is not null))
            notes.Add($"the file's biases of relative positions hold for {description.MaxPositions} tokens, the context of the file: llama.cpp has no relative_attention_max_distance other than {GgufT5.Farthest}");
        Dictionary<string, Parameter> parameters = model.Parameters.ToDictionary(parameter => parameter.Name, StringComparer.Ordinal);
        List<(string, object)> values =
        [
            .. metadata.Values(type),
            .. tensors.Where(tensor => tensor.KeepsOriginal).Select(tensor => (GgufT5.OriginalOf(tensor.Name), (object)parameters[tensor.Parameters[0]].ToArray())),
            .. GgufTokenizer.Of(tokenizer, model.Config, endTokens, notes),
        ];
        GgufTensorInfo[] infos =
        [
            .. tensors.Select(tensor => new GgufTensorInfo(tensor.Name, TypeOf(tensor, type, isHead: tensor.Name == "output.weight" || (tensor == tensors[0] && tensors[^1].Name != "output.weight")), tensor.Shape)),
            .. constants.Select(constant => new GgufTensorInfo(constant.Name, GgufType.F32, [constant.Values.Length])),
        ];
        int wide = infos.Zip(tensors).Count(pair => pair.Second.IsMatrix && pair.First.Type == GgufType.F16 && type != GgufType.F16);
        if (wide > 0)
            notes.Add($"{wide} of {tensors.Count(tensor => tensor.IsMatrix)} matrices are f16, because their rows are no whole blocks of {GgufBlocks.Values} values");
        try
        {
            using var writer = new GgufWriter(path, values, infos);
            foreach (GgufTensor tensor in tensors)
                writer.Write(tensor.ToFile([.. tensor.Parameters.SelectMany(name => parameters[name].ToArray())]));
            foreach ((_, float[] constant) in constants)
                writer.Write(constant);
            writer.Finish();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the file cannot be written: {e.Message}", e);
        }

        return notes;
    }

    /// <summary>Reads a model; its values are f32.</summary>
    /// <param name="path">The file.</param>
    /// <param name="device">Where the model is made.</param>
    /// <param name="tokenizerFolder">An existing folder, into which the tokenizer's files are written; null: they are not.</param>
    /// <exception cref="UserException">The file is damaged, or has an architecture, a key, a tensor or a tokenizer that is not supported.</exception>
    public static LanguageModel Import(string path, Device device, string? tokenizerFolder)
    {
        using var file = new GgufFile(path);
        var config = new GgufConfig(file);
        ModelConfig read = config.Read();
        GgufTokenizerFiles? tokenizer = GgufTokenizerFiles.Of(file, read.VocabularySize);
        TransformerDescription description = read.Describe()!;
        GgufArchitecture architecture;
        try
        {
            architecture = GgufArchitecture.Of(read).For(read, description);
        }
        catch (UserException e)
        {
            throw new UserException($"{path}: the metadata describes a model that llama.cpp does not have: {e.Message}", e);
        }

        if (description.Blocks.Count > file.Tensors.Count)
            throw new UserException($"{path}: the file has {file.Tensors.Count} tensors for {description.Blocks.Count} layers; it is damaged");
        GgufTensor[] tensors = [.. GgufTensors.Of(description, architecture)];
        Check(file, tensors, config.Constants);
        var model = (Transformer)read.Create(new Initializer(device, 0));
        try
        {
            Dictionary<string, Parameter> parameters = model.Parameters.ToDictionary(parameter => parameter.Name, StringComparer.Ordinal);
            foreach (GgufTensor tensor in tensors)
            {
                float[] values = tensor.KeepsOriginal ? Original(file, tensor, parameters[tensor.Parameters[0]]) : tensor.FromFile(file.Read(file.Tensors[tensor.Name]));
                int size = values.Length / tensor.Parameters.Count;
                for (int i = 0; i < tensor.Parameters.Count; i++)
                    parameters[tensor.Parameters[i]].Load(values.AsSpan(i * size, size));
            }

            if (tokenizerFolder is not null)
                tokenizer?.Save(tokenizerFolder);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>The values of a parameter that the metadata has; without them, the tensor's.</summary>
    private static float[] Original(GgufFile file, GgufTensor tensor, Parameter parameter)
    {
        float[] stored = file.Read(file.Tensors[tensor.Name]);
        string key = GgufT5.OriginalOf(tensor.Name);
        if (!file.Metadata.TryGetValue(key, out object? value) && tensor.Rows is null)
            return stored;
        float[] original = value is double[] numbers ? Array.ConvertAll(numbers, number => (float)number) : [];
        return original.Length == parameter.Shape.Aggregate(1, (product, size) => product * size) && tensor.ToFile(original).AsSpan().SequenceEqual(stored) ? original
            : throw new UserException($"{file.Path}: {tensor.Name} does not follow from the values of {key}; the tensor was changed, so remove the key or export the model again");
    }

    /// <summary>Checks that the file has the model's tensors and no others.</summary>
    private static void Check(GgufFile file, GgufTensor[] tensors, IReadOnlyCollection<string> constants)
    {
        foreach (GgufTensor tensor in tensors)
        {
            if (!file.Tensors.TryGetValue(tensor.Name, out GgufEntry? entry))
                throw new UserException($"{file.Path}: there is no tensor {tensor.Name}, which its metadata needs");
            if (!entry.Shape.SequenceEqual(tensor.Shape.Select(size => (long)size)))
                throw new UserException($"{file.Path}: {tensor.Name} is {string.Join('×', entry.Shape)}, but the metadata makes it {string.Join('×', tensor.Shape)}");
        }

        string[] unknown = [.. file.Tensors.Keys.Except(tensors.Select(tensor => tensor.Name)).Except(constants).Order(StringComparer.Ordinal)];
        if (unknown.Length > 0)
            throw new UserException($"{file.Path}: the tensor{(unknown.Length > 1 ? "s" : "")} {TensorNames.List(unknown)} belong{(unknown.Length > 1 ? "" : "s")} to no part of the model, so its results would differ; this variant is not supported");
    }

    private static GgufType TypeOf(GgufTensor tensor, GgufType type, bool isHead) =>
        !tensor.IsMatrix ? GgufType.F32
        : tensor.Shape[^1] % GgufTypes.BlockOf(type) != 0 ? GgufType.F16
        : isHead && type == GgufType.Q4_0 ? GgufType.Q8_0
        : type;
}
