using System.IO.Compression;
using System.Text;
using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;
using ILGpuOptim.Generation;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using Parquet;
using Parquet.Schema;

namespace ILGpuOptim.Fuzz;

/// <summary>A format: valid files, the files to damage, and the method that reads them.</summary>
/// <param name="Name">The format.</param>
/// <param name="Files">The files of a valid case.</param>
/// <param name="Damaged">The names of the files to damage.</param>
/// <param name="Read">Reads the case in a folder.</param>
internal sealed record Target(string Name, IReadOnlyDictionary<string, byte[]> Files, IReadOnlyList<string> Damaged, Action<string> Read);

/// <summary>All formats. Valid cases are the recorded models and tokenizers of the tests, files that the library writes, and the inputs under <c>Corpus</c>.</summary>
internal static class Targets
{
    private static readonly string[] Samples = ["And the king said, my lord: 1984!", "", "  a\n\n\tb ", "héllo 𝟏 שּׁ 🎉 e\u0301 \ud800", "[MASK] <unk> <s> aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"];

    private static readonly CpuDevice Device = new(threads: 1);

    /// <summary>Creates the valid cases.</summary>
    public static IEnumerable<Target> All(Workspace workspace)
    {
        string goldens = Path.Combine(AppContext.BaseDirectory, "Goldens");
        foreach (string folder in Directory.EnumerateDirectories(Path.Combine(goldens, "models")).Concat(Directory.EnumerateDirectories(Path.Combine(goldens, "variants"))).Order(StringComparer.Ordinal))
        {
            Dictionary<string, byte[]> files = Folder(folder, name => !name.StartsWith("expected", StringComparison.Ordinal));
            files["generation_config.json"] = "{\"eos_token_id\": [1, 2], \"bos_token_id\": 1, \"temperature\": 0.7}"u8.ToArray();
            yield return new("model", files, [.. files.Keys], ReadModel);
        }

        foreach (string file in Directory.EnumerateFiles(goldens, "*", SearchOption.AllDirectories).Where(IsTokenizer).Order(StringComparer.Ordinal))
        {
            // Files are renamed to the format's standard file name.
            string name = file.EndsWith(".model", StringComparison.Ordinal) ? "tokenizer.model" : file.EndsWith(".json", StringComparison.Ordinal) ? "tokenizer.json" : Path.GetFileName(file);
            var files = new Dictionary<string, byte[]> { [name] = File.ReadAllBytes(file) };
            yield return new("tokenizer", files, [name], ReadTokenizer);
        }

        foreach (Target target in OfData().Concat(OfRuns(workspace)).Concat(OfCorpus()))
            yield return target;
        Dictionary<string, byte[]> golden = Folder(Path.Combine(goldens, "optimizers"), name => name is "index.json" or "came__default.safetensors");
        golden["index.json"] = Encoding.UTF8.GetBytes(OneCase(golden["index.json"]));
        yield return new("golden", golden, [.. golden.Keys], folder => _ = GoldenCase.ReadAll(folder));
    }

    private static bool IsTokenizer(string file) => Path.GetFileName(file) is "tokenizer.json" or "vocab.txt" || file.EndsWith(".model", StringComparison.Ordinal)
        || (file.EndsWith(".json", StringComparison.Ordinal) && Path.GetFileName(Path.GetDirectoryName(file)) == "tokenizers" && File.ReadAllText(file).Contains("\"model\"", StringComparison.Ordinal));

    /// <summary>The index of recorded trajectories, reduced to one.</summary>
    private static string OneCase(byte[] index)
    {
        JsonNode root = JsonNode.Parse(index)!;
        JsonNode[] cases = [.. root["cases"]!.AsArray().Where(item => item!.ToJsonString().Contains("came__default", StringComparison.Ordinal)).Select(item => item!.DeepClone())];
        root["cases"] = new JsonArray(cases);
        return root.ToJsonString();
    }

    private static IEnumerable<Target> OfData()
    {
        byte[] text = Encoding.UTF8.GetBytes(DefaultCorpus.Text[..4000]), lines = Encoding.UTF8.GetBytes("{\"text\": \"one\", \"n\": 1}\n{\"text\": \"two é\\n\"}\n");
        yield return Data("a.txt", text);
        yield return Data("a.txt", [.. Encoding.Unicode.Preamble, .. Encoding.Unicode.GetBytes(DefaultCorpus.Text[..500])]);
        yield return Data("a.jsonl", lines);
        yield return Data("a.jsonl.gz", Packed(lines));
        yield return Data("a.txt.gz", Packed(text));
        yield return Data("a.parquet", Table(CompressionMethod.None));
        yield return Data("a.parquet", Table(CompressionMethod.Snappy));
        foreach (TokenFormat format in Enum.GetValues<TokenFormat>())
        {
            string path = Path.GetTempFileName();
            TokenFile.Write(path, [.. Enumerable.Range(0, 300)], format);
            yield return new("tokens", new Dictionary<string, byte[]> { ["t.bin"] = File.ReadAllBytes(path) }, ["t.bin"], folder =>
            {
                using Dataset? data = Dataset.TryOpenTokens([Path.Combine(folder, "t.bin")], 0.1);
                data!.Training.CopyTo(0, new int[Math.Min(10, data.Training.Length)]);
            });
            File.Delete(path);
        }

        yield return Documents();
    }

    private static Target Documents()
    {
        DirectoryInfo made = Directory.CreateTempSubdirectory();
        using (var writer = new TokenFileWriter(Path.Combine(made.FullName, "t.bin"), TokenFormat.Plain))
        {
            for (int i = 1; i < 20; i++)
            {
                writer.Append([.. Enumerable.Range(i, i)]);
                writer.EndDocument();
            }

            writer.Finish();
        }

        Dictionary<string, byte[]> files = Folder(made.FullName, _ => true);
        made.Delete(recursive: true);
        return new("ends", files, ["t.ends"], folder =>
        {
            using Dataset? data = Dataset.TryOpenTokens([Path.Combine(folder, "t.bin")], 0.1, documents: true);
            data!.TrainingDocuments!.Number(0, new int[10]);
        });
    }

    private static Target Data(string name, byte[] bytes) => new("data", new Dictionary<string, byte[]> { [name] = bytes }, [name], folder =>
    {
        foreach (DocumentPart part in new DocumentSource().Read(Path.Combine(folder, name)))
            _ = part.Text.Length;
        if (name == "a.txt")
            _ = TextSource.Read(Path.Combine(folder, name));
    });

    private static byte[] Packed(byte[] bytes)
    {
        using var target = new MemoryStream();
        using (var gzip = new GZipStream(target, CompressionLevel.Fastest))
            gzip.Write(bytes);
        return target.ToArray();
    }

    private static byte[] Table(CompressionMethod compression)
    {
        var number = new DataField<int>("n");
        var column = new DataField<string>("text");
        using var target = new MemoryStream();
        ParquetWriter writer = ParquetWriter.CreateAsync(new ParquetSchema(number, column), target, new ParquetOptions { CompressionMethod = compression }).GetAwaiter().GetResult();
        using (ParquetRowGroupWriter rows = writer.CreateRowGroup())
        {
            rows.WriteAsync<int>(number, Enumerable.Range(0, 12).ToArray()).GetAwaiter().GetResult();
            rows.WriteAsync(column, [.. Enumerable.Range(0, 12).Select(i => $"row {i % 5} of the table")]).GetAwaiter().GetResult();
        }

        writer.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return target.ToArray();
    }

    /// <summary>Runs, adapters, settings and models, as written by a short training.</summary>
    private static IEnumerable<Target> OfRuns(Workspace workspace)
    {
        TrainingSettings settings = Presets.Find("tiny") with { Layers = 1, Heads = 2, HiddenSize = 16, Block = 8, Batch = 2, Steps = 3, Warmup = 0, EvalBatches = 1, EvalInterval = 2, Data = [workspace.Text] };
        foreach (string optimizer in (string[])["adamw", "came"])
        {
            string folder = Path.Combine(workspace.Folder, "..", optimizer);
            using (TrainingRun run = TrainingRun.Begin(folder, settings with { Optimizer = settings.Optimizer with { Name = optimizer } }, Device))
                run.Train(CancellationToken.None);
            Dictionary<string, byte[]> files = Folder(folder, _ => true);
            yield return new("run", files, [.. files.Keys.Where(name => name.Contains('.'))], ReadRun);
            Directory.Delete(folder, recursive: true);
        }

        var texts = new Dictionary<string, byte[]> { ["settings.json"] = Encoding.UTF8.GetBytes(settings.ToJson()) };
        yield return new("settings", texts, [.. texts.Keys], folder => TrainingSettings.Load(Path.Combine(folder, "settings.json")).Check());
        yield return OfAdapters(workspace);
        yield return OfLlama2C(workspace);
        foreach (Target target in OfGguf(workspace))
            yield return target;
    }

    private static Target OfAdapters(Workspace workspace)
    {
        string goldens = Path.Combine(AppContext.BaseDirectory, "Goldens", "models", "gpt2-tiny"), folder = Path.Combine(workspace.Folder, "..", "adapters");
        var initializer = new Layers.Initializer(Device, 1);
        using (LanguageModel model = ModelFiles.Load(goldens, Device))
        {
            model.AddAdapters(new Layers.LoraOptions { Rank = 2 }, initializer);
            Directory.CreateDirectory(folder);
            AdapterFiles.Save(folder, model, "base");
        }

        Dictionary<string, byte[]> files = Folder(folder, _ => true);
        string[] damaged = [.. files.Keys];
        foreach ((string name, byte[] bytes) in Folder(goldens, name => !name.StartsWith("expected", StringComparison.Ordinal)))
            files["base/" + name] = bytes;
        Directory.Delete(folder, recursive: true);
        return new("adapter", files, damaged, path =>
        {
            using LanguageModel model = ModelFiles.Load(Path.Combine(path, "base"), Device);
            _ = AdapterFiles.BaseOf(path);
            AdapterFiles.Load(path, model);
        });
    }

    private static Target OfLlama2C(Workspace workspace)
    {
        string path = Path.Combine(workspace.Folder, "..", "llama2c.bin");
        var config = new LlamaConfig { VocabularySize = 40, ContextLength = 16, HiddenSize = 16, IntermediateSize = 24, Layers = 2, Heads = 2, NormEpsilon = 1e-5f };
        using (LanguageModel model = config.Create(new Layers.Initializer(Device, 1)))
            Llama2CFile.Export(model, path);
        var files = new Dictionary<string, byte[]> { ["model.bin"] = File.ReadAllBytes(path) };
        File.Delete(path);
        return new("llama2c", files, ["model.bin"], folder => Llama2CFile.Import(Path.Combine(folder, "model.bin"), Device).Dispose());
    }

    private static IEnumerable<Target> OfGguf(Workspace workspace)
    {
        string goldens = Path.Combine(AppContext.BaseDirectory, "Goldens"), path = Path.Combine(workspace.Folder, "..", "model.gguf"), bpe = Path.Combine(workspace.Folder, "..", "bpe");
        var trainer = new BytePairTrainer();
        trainer.Add(DefaultCorpus.Text[..5000]);
        Directory.CreateDirectory(bpe);
        trainer.Train(280).Save(bpe);
        ITokenizer[] tokenizers = [new ByteTokenizer(), CharTokenizer.From("a tiny\n text"), Tokenizers.Open(bpe), Tokenizers.Open(Path.Combine(goldens, "sentencepiece", "bpe-bytes.model"))];
        Directory.Delete(bpe, recursive: true);
        foreach ((ITokenizer? tokenizer, GgufType type) in tokenizers.Append(null).Zip(Enum.GetValues<GgufType>()))
        {
            var config = new LlamaConfig { VocabularySize = tokenizer?.VocabularySize ?? 40, ContextLength = 16, HiddenSize = 32, IntermediateSize = 32, Layers = 1, Heads = 2 };
            using (LanguageModel model = config.Create(new Layers.Initializer(Device, 1)))
                GgufModelFile.Export(model, tokenizer, [0], path, type);
            var files = new Dictionary<string, byte[]> { ["model.gguf"] = File.ReadAllBytes(path) };
            File.Delete(path);
            yield return new("gguf", files, ["model.gguf"], folder => GgufModelFile.Import(Path.Combine(folder, "model.gguf"), Device, null).Dispose());
        }
    }

    /// <summary>Inputs that once failed: <c>Corpus/FORMAT/CASE/files</c>.</summary>
    private static IEnumerable<Target> OfCorpus()
    {
        string corpus = Path.Combine(AppContext.BaseDirectory, "Corpus");
        if (!Directory.Exists(corpus))
            yield break;
        foreach (string folder in Directory.EnumerateDirectories(corpus).SelectMany(Directory.EnumerateDirectories).Order(StringComparer.Ordinal))
        {
            string format = Path.GetFileName(Path.GetDirectoryName(folder))!;
            Dictionary<string, byte[]> files = Folder(folder, _ => true);
            Action<string> read = format switch
            {
                "model" => ReadModel,
                "tokenizer" => ReadTokenizer,
                "run" => ReadRun,
                "data" => path =>
                {
                    foreach (string file in files.Keys)
                        new DocumentSource().Read(Path.Combine(path, file)).Count();
                }
                ,
                "tokens" => path => Dataset.TryOpenTokens([Path.Combine(path, files.Keys.First())], 0.1)?.Dispose(),
                "settings" => path => TrainingSettings.Load(Path.Combine(path, files.Keys.First())).Check(),
                _ => throw new InvalidOperationException($"the corpus has the unknown format {format}"),
            };
            yield return new(format, files, [.. files.Keys], read);
        }
    }

    private static void ReadModel(string folder)
    {
        ModelFiles.Load(folder, Device).Dispose();
        _ = GenerationConfig.Of(folder);
    }

    private static void ReadTokenizer(string folder)
    {
        ITokenizer? tokenizer = Tokenizers.Load(folder);
        if (tokenizer is null)
            return;
        foreach (string sample in Samples)
            _ = tokenizer.Decode(tokenizer.Encode(sample));
        _ = tokenizer.Decode([-1, 0, 1, 2, 3, tokenizer.VocabularySize - 1, tokenizer.VocabularySize, int.MaxValue]);
        _ = tokenizer.PromptStart;
    }

    private static void ReadRun(string folder)
    {
        _ = RunMetrics.Read(folder);
        TrainingRun.Resume(folder, _ => Device, settings => settings with { Steps = 3 }).Dispose();
    }

    private static Dictionary<string, byte[]> Folder(string folder, Func<string, bool> wanted) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(folder, file)).Where(wanted).Order(StringComparer.Ordinal).ToDictionary(name => name, name => File.ReadAllBytes(Path.Combine(folder, name)));
}
