using System.IO.Compression;
using System.Text;
using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Training;
using Parquet;
using Parquet.Schema;

namespace ILGpuOptim.Tests.Data;

public sealed class PreparationTests : IDisposable
{
    private static readonly string[] Documents = [.. Enumerable.Range(0, 40).Select(i => $"document {i}: {new string((char)('a' + i % 26), i)} héllo 🎉")];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task EveryKindOfFileGivesTheSameTokens()
    {
        string lines = string.Concat(Documents.Select(text => JsonSerializer.Serialize(new { id = 1, text }) + "\n"));
        File.WriteAllText(At("a.jsonl"), lines);
        using (var gzip = new GZipStream(File.Create(At("b.jsonl.gz")), CompressionLevel.Fastest))
            gzip.Write(Encoding.UTF8.GetBytes(lines));
        var column = new DataField<string>("text");
        await using (FileStream stream = File.Create(At("c.parquet")))
        {
            await using ParquetWriter writer = await ParquetWriter.CreateAsync(new ParquetSchema(column), stream, cancellationToken: TestContext.Current.CancellationToken);
            foreach (string[] part in Documents.Chunk(15))
            {
                using ParquetRowGroupWriter rows = writer.CreateRowGroup();
                await rows.WriteAsync(column, part);
            }
        }

        int[][] results = [.. new[] { "a.jsonl", "b.jsonl.gz", "c.parquet" }.Select(name => Prepare(name, 0.25))];
        int[] expected = [.. Documents.Where((_, i) => (i + 1) % 4 != 0).SelectMany(text => (int[])[.. new ByteTokenizer().Encode(text), 10])];
        Assert.All(results, ids => Assert.Equal(expected, ids));
    }

    /// <summary>Each line is a document, an empty one only where an end token gives it a token.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData(10)]
    public void TheEndsOfDocumentsAreKept(int? end)
    {
        string[] texts = ["one", "", "a", "three words here", "", "é", "x", "y"];
        File.WriteAllText(At("a.jsonl"), string.Concat(texts.Select(text => JsonSerializer.Serialize(new { text }) + "\n")));
        PreparedTokens prepared = new Preparation(new ByteTokenizer(), 0.25, "text", end).Run(DocumentSource.Files([At("a.jsonl")]), At("out"));
        Assert.Equal(8, prepared.Documents);
        using Dataset data = Dataset.TryOpenTokens([At("out")], 0.1, documents: true)!;
        Assert.Empty(data.Notes);
        Assert.Contains("--validation 0.3: ", Assert.Throws<UserException>(() => TrainingRun.LoadData(new TrainingSettings { Data = [At("out")], Validation = 0.3 })).InFlags(), StringComparison.Ordinal);
        foreach ((DocumentEnds documents, TokenSequence tokens, bool validates) in new[] { (data.TrainingDocuments!, data.Training, false), (data.ValidationDocuments!, data.Validation, true) })
        {
            string[] expected = [.. texts.Where((_, i) => (i % 4 == 3) == validates).Select(text => text + (end is null ? "" : "\n")).Where(text => text.Length > 0)];
            Assert.Equal(expected.Length, documents.Count);
            for (int i = 0; i < expected.Length; i++)
            {
                long start = i == 0 ? 0 : documents.EndOf(i - 1);
                Assert.Equal(expected[i], new ByteTokenizer().Decode(tokens.Slice(start, documents.EndOf(i) - start).ToArray()));
            }
        }

        File.Delete(At("out/ilgpuoptim-files.json"));
        File.Delete(At("out/train.ends"));
        using Dataset without = Dataset.TryOpenTokens([At("out")], 0.1, documents: true)!;
        Assert.Equal((1, 2), (without.TrainingDocuments!.Count, without.ValidationDocuments!.Count));
        Assert.Contains("train.bin has no file of document ends (train.ends)", Assert.Single(without.Notes), StringComparison.Ordinal);
    }

    /// <summary>Token folders of earlier versions have no files of ends; the end token of their tokenizer tells.</summary>
    [Fact]
    public void EndTokensStandInForMissingEnds()
    {
        var trainer = new BytePairTrainer();
        trainer.Add(DefaultCorpus.Text[..20_000]);
        trainer.Train(300).Save(At("bpe"));
        File.WriteAllText(At("a.jsonl"), string.Concat(Enumerable.Range(0, 40).Select(i => JsonSerializer.Serialize(new { text = DefaultCorpus.Text.Substring(i * 50, i) }) + "\n")));
        new Preparation(Tokenizers.Open(At("bpe")), 0.25, "text", null).Run(DocumentSource.Files([At("a.jsonl")]), At("out"));
        long[] Ends(DocumentEnds ends) => [.. Enumerable.Range(0, (int)ends.Count).Select(i => ends.EndOf(i))];
        using Dataset kept = Dataset.TryOpenTokens([At("out")], 0.1, documents: true)!;
        File.Delete(At("out/ilgpuoptim-files.json"));
        File.Delete(At("out/train.ends"));
        File.Delete(At("out/val.ends"));
        using Dataset found = Dataset.TryOpenTokens([At("out")], 0.1, documents: true)!;
        Assert.Equal((30, 10), (kept.TrainingDocuments!.Count, kept.ValidationDocuments!.Count));
        Assert.Equal(Ends(kept.TrainingDocuments), Ends(found.TrainingDocuments!));
        Assert.Equal(Ends(kept.ValidationDocuments), Ends(found.ValidationDocuments!));
        Assert.Equal("documents end with <|endoftext|> (id 0)", Assert.Single(found.Notes));
    }

    /// <summary>The pieces of a text around one that validates are no neighbours, so they are documents of their own.</summary>
    [Fact]
    public void ATextEndsWhereItGoesOnInTheOtherFile()
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..300_000]);
        Prepare("a.txt", 0.1);
        using Dataset data = Dataset.TryOpenTokens([At("out")], 0.1, documents: true)!;
        Assert.InRange(data.ValidationDocuments!.Count, 3, 8);
        Assert.InRange(data.TrainingDocuments!.Count - data.ValidationDocuments.Count, 0, 1);
        string text = DefaultCorpus.Text[..300_000] + "\n";
        for (long i = 0, start = 0; i < data.TrainingDocuments.Count; start = data.TrainingDocuments.EndOf(i), i++)
            Assert.Contains(new ByteTokenizer().Decode(data.Training.Slice(start, data.TrainingDocuments.EndOf(i) - start).ToArray()), text, StringComparison.Ordinal);
    }

    [Fact]
    public void ATextIsCutIntoPiecesThatMakeItWhole()
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..300_000]);
        int[] training = Prepare("a.txt", 0.1), validation = Tokens("val.bin");
        Assert.Equal(Encoding.UTF8.GetByteCount(DefaultCorpus.Text[..300_000]) + 1, training.Length + validation.Length);
        Assert.InRange(validation.Length, 20_000, 40_000);
        Assert.StartsWith(new ByteTokenizer().Decode(training.AsSpan(0, 1000)), DefaultCorpus.Text);
    }

    [Fact]
    public void TheTokenizerComesWithTheTokens()
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..50_000]);
        Prepare("a.txt", 0.1);
        Dataset data = Dataset.TryOpenTokens([At("out")], 0.1)!;
        Assert.Equal("byte", data.Tokenizer!.Kind);
        Assert.Equal(256, data.VocabularySize);
    }

    [Fact]
    public void TokensAndTokenizerAreReplacedAsOneWhole()
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..50_000]);
        Prepare("a.txt", 0.1);
        var trainer = new BytePairTrainer();
        trainer.Add(DefaultCorpus.Text[..50_000]);
        trainer.Train(300).Save(At("bpe"));
        new Preparation(Tokenizers.Open(At("bpe")), 0.1, "text", null).Run(DocumentSource.Files([At("a.txt")]), At("out"));
        using Dataset data = Dataset.TryOpenTokens([At("out")], 0.1)!;
        Assert.Equal(300, data.Tokenizer!.VocabularySize);
        Assert.False(File.Exists(Path.Combine(At("out"), Tokenizers.FileName)));
        Assert.StartsWith(data.Tokenizer.Decode(data.Training.Slice(0, 100).ToArray()), DefaultCorpus.Text);
        Assert.Equal(["a.txt", "bpe", "out"], Directory.GetFileSystemEntries(folder.Path).Select(path => Path.GetFileName(path)).Order());
    }

    /// <summary>The end of documents is the token <c>&lt;|endoftext|&gt;</c> itself; a tokenizer without it has none, whatever it makes of that text.</summary>
    [Theory]
    [InlineData("""{"type":"WordLevel","unk_token":"[UNK]","vocab":{"[UNK]":0,"a":1}}""", "[]", 0)]
    [InlineData("""{"type":"BPE","vocab":{"a":1},"merges":[]}""", "[]", 0)]
    [InlineData("""{"type":"WordLevel","unk_token":"[UNK]","vocab":{"[UNK]":0,"a":1,"<|endoftext|>":2}}""", "[]", 8)]
    [InlineData("""{"type":"BPE","vocab":{"a":1},"merges":[]}""", """[{"id":2,"content":"<|endoftext|>"}]""", 8)]
    public void OnlyTheTokenItselfEndsDocuments(string model, string added, int ends)
    {
        File.WriteAllText(At("tokenizer.json"), $$"""{"version":"1.0","added_tokens":{{added}},"model":{{model}}}""");
        File.WriteAllText(At("a.jsonl"), string.Concat(Enumerable.Repeat("{\"text\":\"a\"}\n", 8)));
        new Preparation(Tokenizers.Open(At("tokenizer.json")), 0.25, "text", null).Run(DocumentSource.Files([At("a.jsonl")]), At("out"));
        int[] ids = [.. Tokens("train.bin"), .. Tokens("val.bin")];
        Assert.Equal((8, ends), (ids.Count(id => id == 1), ids.Count(id => id == 2)));
        Assert.Equal(8 + ends, ids.Length);
    }

    [Theory]
    [InlineData("notes.txt", "precious")]
    [InlineData("train.bin", "other")]
    [InlineData("ilgpuoptim-files.json", "{")]
    [InlineData("ilgpuoptim-files.json", "{\"files\":{\"../a.txt\":{\"bytes\":1,\"sha256\":\"\"}}}")]
    [InlineData("ilgpuoptim-files.json", "{\"files\":{\"train.bin\":null}}")]
    [InlineData("ilgpuoptim-files.json", "null")]
    public void AFolderThatHoldsMoreThanWasMadeIsNotReplaced(string name, string contents)
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..50_000]);
        Prepare("a.txt", 0.1);
        File.WriteAllText(Path.Combine(At("out"), name), contents);
        Assert.Throws<UserException>(() => Prepare("a.txt", 0.1));
        Assert.Equal(contents, File.ReadAllText(Path.Combine(At("out"), name)));
    }

    [Fact]
    public void AFolderOfOthersIsNotReplaced()
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..50_000]);
        Directory.CreateDirectory(At("out"));
        File.WriteAllText(Path.Combine(At("out"), "train.bin"), "precious");
        Assert.Contains("train.bin", Assert.Throws<UserException>(() => Prepare("a.txt", 0.1)).Message);
        Assert.Equal("precious", File.ReadAllText(Path.Combine(At("out"), "train.bin")));
    }

    [Theory]
    [InlineData("ilgpuoptim-tokenizer.json", "{\"kind\":\"byte\" }")]
    [InlineData("vocab.txt", "a")]
    [InlineData("old-train.bin", "abcd")]
    [InlineData("val.bin", "abcd")]
    [InlineData("val.bin", null)]
    public void AMixedFolderIsNotRead(string name, string? contents)
    {
        File.WriteAllText(At("a.txt"), DefaultCorpus.Text[..50_000]);
        Prepare("a.txt", 0.1);
        File.WriteAllText(Path.Combine(At("out"), "notes.txt"), "a note is no part of it");
        Dataset.TryOpenTokens([At("out")], 0.1)!.Dispose();
        if (contents is null)
            File.Delete(Path.Combine(At("out"), name));
        else
            File.WriteAllText(Path.Combine(At("out"), name), contents);
        Assert.Contains(name, Assert.Throws<UserException>(() => Dataset.TryOpenTokens([At("out")], 0.1)).Message);
    }

    [Theory]
    [InlineData("a.jsonl", "{\"text\": \"fine\"}\n{\"text\": 5}\n", "line 2")]
    [InlineData("a.jsonl", "{\"text\": \"fine\"}\nnot json\n", "line 2")]
    [InlineData("a.jsonl", "{\"text\": \"\\ud800\"}\n", "line 1")]
    [InlineData("a.parquet", "not parquet", "Parquet")]
    [InlineData("a.txt.gz", "not gzip", "cannot be read")]
    [InlineData("a.txt", "one part", "nothing to validate with")]
    public void BadInputIsNamedAndLeavesNothing(string name, string contents, string word)
    {
        File.WriteAllText(At(name), contents);
        Assert.Contains(word, Assert.Throws<UserException>(() => Prepare(name, 0.5 / 2)).Message);
        Assert.Empty(Directory.Exists(At("out")) ? Directory.GetFiles(At("out")) : []);
    }

    private string At(string name) => Path.Combine(folder.Path, name);

    private int[] Prepare(string name, double validation)
    {
        new Preparation(new ByteTokenizer(), validation, "text", end: 10).Run(DocumentSource.Files([At(name)]), At("out"));
        return Tokens("train.bin");
    }

    private int[] Tokens(string name)
    {
        TokenSequence tokens = TokenFile.Open(Path.Combine(At("out"), name));
        var ids = new int[tokens.Length];
        tokens.CopyTo(0, ids);
        return ids;
    }
}
