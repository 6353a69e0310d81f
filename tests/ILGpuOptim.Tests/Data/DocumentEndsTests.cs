using System.Buffers.Binary;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

/// <summary>Where documents end: in memory, in files, joined and cut.</summary>
public sealed class DocumentEndsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Random documents, many of one token, against a list of the document of each token.</summary>
    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 5)]
    [InlineData(3, 300)]
    [InlineData(4, 1000)]
    public void PartsAndWindowsAreThoseOfAPlainList(int seed, int count)
    {
        var random = new Random(seed);
        int[] documents = [.. Enumerable.Range(0, count).SelectMany(i => Enumerable.Repeat(i, random.Next(3) == 0 ? 1 : random.Next(1, 40)))];
        DocumentEnds ends = EndsOf(documents), file = Written(documents);
        DocumentEnds joined = DocumentEnds.Join([EndsOf(documents[..(documents.Length / 3)]), DocumentEnds.One(0), Shared(documents[(documents.Length / 3)..])]);
        bool cuts = documents.Length >= 3 && documents[documents.Length / 3] == documents[(documents.Length / 3) - 1];
        Check(ends, documents);
        Check(file, documents);
        if (!cuts)
            Check(joined, documents);
        for (int i = 0; i < 50; i++)
        {
            int start = random.Next(documents.Length), length = random.Next(documents.Length - start + 1);
            Check(ends.Slice(start, length), documents[start..(start + length)]);
            Check(file.Slice(start, length), documents[start..(start + length)]);
            if (length > 4)
                Check(ends.Slice(start, length).Slice(2, length - 3), documents[(start + 2)..(start + length - 1)]);
        }

        file.Dispose();

        DocumentEnds Shared(int[] part) => EndsOf(part);
    }

    [Fact]
    public void NothingHasNoDocuments()
    {
        DocumentEnds none = DocumentEnds.Join([]);
        Assert.Equal((0L, 0L), (none.Length, none.Count));
        Assert.Equal((0L, 0L), (DocumentEnds.One(5).Slice(2, 0).Length, DocumentEnds.One(5).Slice(2, 0).Count));
        Assert.Equal(1, DocumentEnds.One(5).Count);
        Assert.Throws<ArgumentOutOfRangeException>(() => none.DocumentAt(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => DocumentEnds.One(5).Slice(3, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => DocumentEnds.One(5).EndOf(1));
        Assert.Throws<ArgumentException>(() => DocumentEnds.From([3, 3], 5));
        Assert.Throws<ArgumentException>(() => DocumentEnds.From([0, 3], 5));
        Assert.Throws<ArgumentException>(() => DocumentEnds.From([3, 6], 5));
    }

    [Fact]
    public void AnEndTokenEndsDocuments()
    {
        int[] ids = [9, 1, 2, 9, 9, 3, 4];
        DocumentEnds ends = DocumentEnds.EndingWith(TokenSequence.From(ids), 9)!;
        Assert.Equal([1, 4, 5, 7], All(ends));
        Assert.Null(DocumentEnds.EndingWith(TokenSequence.From(ids), 8));
        int[] many = [.. Enumerable.Range(0, 200_000).Select(i => i % 7 == 6 ? 5 : 1)];
        Assert.Equal([.. Enumerable.Range(1, 200_000 / 7).Select(i => 7L * i), 200_000], All(DocumentEnds.EndingWith(TokenSequence.From(many), 5)!));
    }

    [Theory]
    [InlineData("other tokens")]
    [InlineData("more tokens")]
    [InlineData("cut")]
    [InlineData("short")]
    [InlineData("magic")]
    [InlineData("version")]
    [InlineData("order")]
    [InlineData("last")]
    [InlineData("beyond")]
    public void ADamagedFileIsRefused(string damage)
    {
        int[] documents = [0, 0, 0, 1, 2, 2];
        Written(documents).Dispose();
        string path = folder["t.ends"];
        byte[] bytes = File.ReadAllBytes(path);
        Assert.Equal(48 + (3 * 8), bytes.Length);
        string expected = damage switch
        {
            "other tokens" or "more tokens" => "belong to other tokens",
            "cut" => "cut short",
            "short" or "magic" => "does not contain document ends",
            "version" => "version 2 of document ends is unknown",
            "order" => "the end 3 of document 2",
            "last" => "the last document ends at 5",
            _ => "the end 7 of document 3",
        };
        switch (damage)
        {
            case "other tokens":
                TokenFile.Write(folder["t.bin"], [0, 1, 2, 3, 4, 6]);
                break;
            case "more tokens":
                TokenFile.Write(folder["t.bin"], [0, 1, 2, 3, 4, 5, 6]);
                break;
            case "cut":
                File.WriteAllBytes(path, bytes[..^8]);
                break;
            case "short":
                File.WriteAllBytes(path, bytes[..20]);
                break;
            case "magic":
                bytes[0]++;
                File.WriteAllBytes(path, bytes);
                break;
            case "version":
                bytes[8] = 2;
                File.WriteAllBytes(path, bytes);
                break;
            default:
                BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(damage == "order" ? 56 : 64), damage switch { "order" => 3, "last" => 5, _ => 7 });
                File.WriteAllBytes(path, bytes);
                break;
        }

        using TokenSequence tokens = TokenFile.Open(folder["t.bin"]);
        string message = Assert.Throws<UserException>(() => DocumentFile.TryOpen(folder["t.bin"], tokens)).Message;
        Assert.StartsWith(path, message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    /// <summary>The bytes of a file, computed apart from this code: they are a format that other programs may write.</summary>
    [Fact]
    public void TheFormatIsDocumented()
    {
        Written([0, 0, 0, 1, 2, 2]).Dispose();
        byte[] bytes = File.ReadAllBytes(folder["t.ends"]);
        Assert.Equal("ILGODOCS\u0001\0\0\0\0\0\0\0"u8, bytes.AsSpan(0, 16));
        Assert.Equal([6, 3], new[] { 16, 24 }.Select(at => BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(at))));
        Assert.Equal(System.IO.Hashing.XxHash128.Hash([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0]), bytes[32..48]);
        Assert.Equal([3, 4, 6], new[] { 48, 56, 64 }.Select(at => BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(at))));
    }

    [Fact]
    public void AFileWithoutEndsIsOneDocument()
    {
        TokenFile.Write(folder["a.bin"], [1, 2, 3]);
        TokenFile.Write(folder["b.bin"], [4, 5]);
        Written([0, 0, 1]).Dispose();
        using Dataset data = Dataset.TryOpenTokens([folder["a.bin"], folder["b.bin"], folder["t.bin"]], 0.25, documents: true)!;
        Assert.Equal([3, 5, 6], All(data.TrainingDocuments!));
        Assert.Equal([1, 2], All(data.ValidationDocuments!));
        Assert.Equal(2, data.Notes.Count);
        Assert.Contains("a.bin has no file of document ends (a.ends), so it is one document; prepare writes both", data.Notes[0], StringComparison.Ordinal);
        using Dataset plain = Dataset.TryOpenTokens([folder["a.bin"]], 0.25)!;
        Assert.Null(plain.TrainingDocuments);
        Assert.Empty(plain.Notes);
    }

    private static DocumentEnds EndsOf(int[] documents) =>
        DocumentEnds.From([.. Enumerable.Range(1, documents.Length).Where(i => i == documents.Length || documents[i] != documents[i - 1]).Select(i => (long)i)], documents.Length);

    private DocumentEnds Written(int[] documents)
    {
        using (var writer = new TokenFileWriter(folder["t.bin"], TokenFormat.Plain))
        {
            writer.EndDocument();
            for (int i = 0; i < documents.Length; i++)
            {
                writer.Append([i % 50_000]);
                if (i + 1 < documents.Length && documents[i + 1] != documents[i])
                {
                    writer.EndDocument();
                    writer.EndDocument();
                }
            }

            writer.Finish();
        }

        using TokenSequence tokens = TokenFile.Open(folder["t.bin"]);
        return DocumentFile.TryOpen(folder["t.bin"], tokens)!;
    }

    private static long[] All(DocumentEnds ends)
    {
        var all = new long[ends.Count];
        ends.CopyTo(0, all);
        return all;
    }

    private static void Check(DocumentEnds ends, int[] documents)
    {
        Assert.Equal(documents.Length, ends.Length);
        Assert.Equal(All(EndsOf(documents)), All(ends));
        var random = new Random(documents.Length);
        for (int i = 0; i < 20 && documents.Length > 0; i++)
        {
            int start = random.Next(documents.Length), length = random.Next(Math.Min(200, documents.Length - start) + 1);
            int[] numbers = new int[length], targets = new int[length];
            ends.Number(start, numbers, targets);
            for (int j = 0; j < length; j++)
            {
                Assert.Equal(documents[start + j] - documents[start], numbers[j]);
                Assert.Equal(start + j + 1 < documents.Length && documents[start + j + 1] != documents[start + j] ? -1 : 0, targets[j]);
            }

            Assert.Equal(documents[start] - documents[0], ends.DocumentAt(start));
            Assert.Equal(start == 0 || documents[start] != documents[start - 1], ends.Begins(start));
        }
    }
}
