using System.IO.Compression;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.ExportOracle;

/// <summary>Compares the ids of exported tokenizers in llama.cpp, and those of the imported file, with the library's.</summary>
internal static class TokenizerChecks
{
    /// <summary>
    /// How many texts get other ids from llama.cpp, and after import. llama.cpp approximates o200k's words, and does not compose characters. A tokenizer.json replaces
    /// characters by groups, and SentencePiece not. SentencePiece removes "▁" at the end of a text.
    /// </summary>
    private static readonly Dictionary<string, (int Llama, int Imported)> KnownDifferences = new()
    {
        ["o200k"] = (5, 5),
        ["bpe: nfc"] = (15, 15),
        ["T5: Replace"] = (2, 0),
        ["T5: WhitespaceSplit"] = (2, 0),
        ["sentencepiece: unigram-nmt-nfkc.model.gz"] = (0, 2),
        ["sentencepiece: unigram-nmt-nfkc-cf.model.gz"] = (0, 3),
        ["sentencepiece: unigram.model"] = (1, 1),
        ["sentencepiece: unigram.model.gz"] = (1, 1),
        ["sentencepiece: unigram-no-split.model.gz"] = (1, 1),
        ["sentencepiece: unigram-t5.model.gz"] = (1, 1),
        ["sentencepiece: unigram-unk-surface.model.gz"] = (1, 1),
    };

    /// <summary>Text with the names of control tokens, which plain SentencePiece reads as text; an imported tokenizer finds the tokens in it.</summary>
    private const string Control = "<s>";

    /// <summary>Runs all tokenizers; true if all give the same ids or are refused.</summary>
    public static bool Run(string goldens, string work, string? only)
    {
        using var device = new CpuDevice();
        JsonNode recorded = JsonNode.Parse(File.ReadAllBytes(Path.Combine(goldens, "tokenizers", "texts.json")))!;
        string[] texts = [.. recorded["plain"]!.AsArray().Concat(recorded["hashed"]!.AsArray()).Select(text => (string)text!), DefaultCorpus.Text[..3000], "x <extra_id_0> y<extra_id_1>."];
        bool all = true;
        foreach ((string name, Func<ITokenizer?> open) in Tokenizers(goldens, work))
        {
            if (only is not null && !name.Contains(only, StringComparison.Ordinal))
                continue;
            try
            {
                if (open() is { } tokenizer)
                    all &= Compare(name, tokenizer, texts, work, device);
            }
            catch (UserException e)
            {
                Console.WriteLine($"{name,-44}refused: {e.Message}");
            }
        }

        return all;
    }

    private static IEnumerable<(string Name, Func<ITokenizer?> Open)> Tokenizers(string goldens, string work)
    {
        yield return ("byte", () => new ByteTokenizer());
        yield return ("char", () => CharTokenizer.From(DefaultCorpus.Text + "\n\t\\▁é🎉"));
        yield return ("trained BPE", () =>
        {
            var trainer = new BytePairTrainer();
            trainer.Add(DefaultCorpus.Text[..400_000]);
            string folder = Path.Combine(work, "bpe");
            Directory.CreateDirectory(folder);
            trainer.Train(2000).Save(folder);
            return Data.Tokenizers.Open(folder);
        });
        yield return ("cl100k", () => Data.Tokenizers.Open("cl100k"));
        yield return ("o200k", () => Data.Tokenizers.Open("o200k"));
        if (Environment.GetEnvironmentVariable("ILGPUOPTIM_TOKENIZERS") is { Length: > 0 } folder)
        {
            foreach (string file in Directory.EnumerateFiles(folder, "tokenizer.json", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
                yield return (Path.GetRelativePath(folder, Path.GetDirectoryName(file)!), () => Data.Tokenizers.Open(file));
        }

        foreach (string file in Directory.EnumerateFiles(Path.Combine(goldens, "tokenizers"), "*.json").Where(file => Path.GetFileName(file) != "texts.json").Order(StringComparer.Ordinal))
        {
            JsonNode cases = JsonNode.Parse(File.ReadAllBytes(file))!;
            foreach (JsonNode? item in cases["cases"]!.AsArray())
            {
                string name = $"{Path.GetFileNameWithoutExtension(file)}: {item!["name"]}";
                yield return (name, () => Data.Tokenizers.Open(Write(cases["base"]!, item, Path.Combine(work, "tokenizer.json"))));
            }
        }

        // The two forms in which tokenizers of T5 are published.
        string pieces = Path.Combine(goldens, "tokenizers", "sentencepiece", "unigram-nmt-nfkc.model.gz");
        yield return ("T5: WhitespaceSplit", () => T5(pieces, work, [], """{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace","replacement":"▁","add_prefix_space":true}]}"""));
        yield return ("T5: Replace", () => T5(pieces, work,
            ["""{"type":"Strip","strip_left":false,"strip_right":true}""", """{"type":"Replace","pattern":{"Regex":" {2,}"},"content":"▁"}"""],
            """{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}"""));
        foreach (string file in Directory.EnumerateFiles(Path.Combine(goldens, "sentencepiece"), "*.model").Concat(Directory.EnumerateFiles(Path.Combine(goldens, "tokenizers", "sentencepiece"))).Order(StringComparer.Ordinal))
            yield return ($"sentencepiece: {Path.GetFileName(file)}", () => Data.Tokenizers.Open(Unpacked(file, work)));
    }

    private static string Unpacked(string file, string work)
    {
        string path = Path.Combine(work, "tokenizer.model");
        using Stream packed = file.EndsWith(".gz", StringComparison.Ordinal) ? new GZipStream(File.OpenRead(file), CompressionMode.Decompress) : File.OpenRead(file);
        using FileStream target = File.Create(path);
        packed.CopyTo(target);
        return path;
    }

    /// <summary>A tokenizer.json of a T5 from a SentencePiece model.</summary>
    private static ITokenizer? T5(string file, string work, string[] normalizers, string preTokenizer)
    {
        SentencePieceModel model = SentencePieceFile.Read(File.ReadAllBytes(Unpacked(file, work)), file);
        string[] sentinels = ["<extra_id_1>", "<extra_id_0>"];
        JsonObject root = GgufUnigram.ToJson([.. model.Pieces.Select(piece => (piece.Text, (double)piece.Score)), .. sentinels.Select(text => (text, 0.0))], 0, model.Normalizer.Characters!.ToBytes());
        root["normalizer"] = new JsonObject { ["type"] = "Sequence", ["normalizers"] = new JsonArray([root["normalizer"]!["normalizers"]![0]!.DeepClone(), .. normalizers.Select(step => JsonNode.Parse(step))]) };
        root["pre_tokenizer"] = JsonNode.Parse(preTokenizer);
        IEnumerable<(int Id, string Text)> special = model.Pieces.Index().Where(piece => piece.Item.Type != PieceType.Normal).Select(piece => (piece.Index, piece.Item.Text))
            .Concat(sentinels.Select((text, i) => (model.Pieces.Count + i, text)));
        root["added_tokens"] = new JsonArray([.. special.Select(token => (JsonNode)new JsonObject
        {
            ["id"] = token.Id,
            ["content"] = token.Text,
            ["single_word"] = false,
            ["lstrip"] = false,
            ["rstrip"] = false,
            ["normalized"] = false,
            ["special"] = true,
        })]);
        string path = Path.Combine(work, "tokenizer.json");
        File.WriteAllText(path, root.ToJsonString());
        return Data.Tokenizers.Open(path);
    }

    /// <summary>A case of a recorded file: its base with other values at some paths.</summary>
    private static string Write(JsonNode start, JsonNode item, string path)
    {
        JsonNode root = start.DeepClone();
        foreach ((string place, JsonNode? value) in item["set"]?.AsObject() ?? [])
        {
            string[] names = place.Split('.');
            JsonNode node = root;
            foreach (string name in names[..^1])
                node = node[name] ??= new JsonObject();
            node[names[^1]] = value?.DeepClone();
        }

        File.WriteAllText(path, root.ToJsonString());
        return path;
    }

    private static bool Compare(string name, ITokenizer tokenizer, string[] texts, string work, CpuDevice device)
    {
        string path = Path.Combine(work, "tokenizer.gguf"), folder = Path.Combine(work, "imported");
        var config = new LlamaConfig { VocabularySize = tokenizer.VocabularySize, ContextLength = 32, HiddenSize = 32, IntermediateSize = 32, Layers = 1, Heads = 1 };
        using (LanguageModel model = config.Create(new Initializer(device, 1)))
            _ = GgufModelFile.Export(model, tokenizer, [], path, GgufType.F16);
        Directory.CreateDirectory(folder);
        GgufModelFile.Import(path, device, folder).Dispose();
        ITokenizer imported = Data.Tokenizers.Load(folder)!;
        Directory.Delete(folder, recursive: true);
        using var llama = new LlamaCpp(path, 32);
        int known = 0, count = 0, otherImported = 0;
        string? first = null;
        foreach (string text in texts)
        {
            int[] expected;
            try
            {
                expected = tokenizer.Encode(text);
            }
            catch (UserException)
            {
                // The tokenizer does not know a character of the text.
                continue;
            }

            count++;
            bool hasControl = name.StartsWith("sentencepiece", StringComparison.Ordinal) && text.Contains(Control, StringComparison.Ordinal);
            otherImported += hasControl || expected.SequenceEqual(imported.Encode(text)) ? 0 : 1;
            if (expected.SequenceEqual(llama.Tokenize(text, findsControl: !hasControl)))
                known++;
            else
                first ??= text;
        }

        (int expectedOthers, int expectedImported) = KnownDifferences.GetValueOrDefault(name);
        bool isRight = count - known <= expectedOthers && otherImported <= expectedImported;
        Console.WriteLine($"{name,-44}{known} of {count} texts have the same ids{(otherImported > 0 ? $", {otherImported} others after import" : "")}{(isRight ? "" : "  FAILED")}{(first is null ? "" : $"  {JsonSerializer.Serialize(first)[..Math.Min(70, JsonSerializer.Serialize(first).Length)]}")}");
        return isRight;
    }
}
