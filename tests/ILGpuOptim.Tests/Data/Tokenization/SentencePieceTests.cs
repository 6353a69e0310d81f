using System.Text;
using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization.SentencePieces;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>
/// Ids and texts that SentencePiece 0.1.97 gives for small models of its trainer: all kinds of models, normalizations, white-space settings
/// and piece types, over corpus lines, special sequences and characters of all planes.
/// </summary>
public sealed class SentencePieceTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static JsonElement Recorded { get; } = JsonDocument.Parse(File.ReadAllBytes(Goldens.Folder("sentencepiece", "recorded.json"))).RootElement;

    public static IEnumerable<TheoryDataRow<string>> Names => Recorded.EnumerateObject().Select(model => new TheoryDataRow<string>(model.Name));

    private static string ModelPath(string name) => Goldens.Folder("sentencepiece", name);

    [Theory]
    [MemberData(nameof(Names))]
    public void GivesTheIdsAndTextsOfSentencePiece(string name)
    {
        JsonElement recorded = Recorded.GetProperty(name);
        ITokenizer tokenizer = Tokenizers.Open(ModelPath(name));
        Assert.Equal(recorded.GetProperty("size").GetInt32(), tokenizer.VocabularySize);
        Assert.Equal(recorded.GetProperty("bos").GetInt32(), tokenizer.PromptStart ?? -1);
        foreach (JsonElement sample in recorded.GetProperty("samples").EnumerateArray())
        {
            int[] ids = [.. sample[1].EnumerateArray().Select(id => id.GetInt32())];
            if (sample[0].ValueKind == JsonValueKind.String)
                Assert.Equal(ids, tokenizer.Encode(sample[0].GetString()));
            Assert.Equal(sample[2].GetString(), tokenizer.Decode(ids));
        }
    }

    [Theory]
    [InlineData("bpe-bytes.model")]
    [InlineData("unigram.model")]
    public void PassesTheSelfTestsOfTheTrainer(string name)
    {
        SentencePieceModel model = SentencePieceFile.Read(File.ReadAllBytes(ModelPath(name)), name);
        Assert.Equal(5, model.SelfTest.Count);
        var processor = new SentencePieceProcessor(model, name);
        foreach ((string text, string expected) in model.SelfTest)
        {
            var pieces = new List<(int Id, string Text)>();
            processor.Encode(text, pieces);
            Assert.Equal(expected, string.Join(' ', pieces.Select(piece => piece.Text)));
        }
    }

    [Fact]
    public void UnknownIdsBecomeReplacementCharacters()
    {
        ITokenizer tokenizer = Tokenizers.Open(ModelPath("char.model"));
        int[] ids = tokenizer.Encode("king");
        Assert.Equal("king\uFFFDking\uFFFD", tokenizer.Decode([.. ids, -1, .. ids[1..], 1_000_000]));
    }

    /// <summary>A megabyte of any shape takes a time that does not grow with the square of its length; the limit is generous for slow machines.</summary>
    [Theory]
    [InlineData("bpe-bytes.model", "a")]
    [InlineData("bpe-bytes.model", " ")]
    [InlineData("bpe-symbols.model", "<|user|>")]
    [InlineData("bpe-symbols.model", "the")]
    [InlineData("unigram-cf.model", "\u2603")]
    [InlineData("unigram.model", "and the")]
    public void LongTextsTakeLinearTime(string name, string part)
    {
        ITokenizer tokenizer = Tokenizers.Open(ModelPath(name));
        string text = string.Concat(Enumerable.Repeat(part, 1_000_000 / part.Length));
        var watch = System.Diagnostics.Stopwatch.StartNew();
        tokenizer.Encode(text);
        Assert.InRange(watch.Elapsed.TotalSeconds, 0, 20);
    }

    /// <summary>Every beginning of a file, and files with one changed byte, load or are refused with the file's name; nothing else happens.</summary>
    [Fact]
    public void DamagedFilesAreNamed()
    {
        byte[] whole = File.ReadAllBytes(ModelPath("char.model"));
        string path = folder["damaged.model"];
        var random = new Random(5);
        int refused = 0;
        for (int i = 0; i < whole.Length; i++)
        {
            byte[] damaged = [.. whole];
            damaged[i] = (byte)random.Next(256);
            foreach (byte[] contents in (byte[][])[whole[..i], damaged])
            {
                File.WriteAllBytes(path, contents);
                try
                {
                    Tokenizers.Open(path).Encode("And the king ");
                }
                catch (UserException e)
                {
                    refused++;
                    if (!e.Message.Contains("control piece", StringComparison.Ordinal))
                        Assert.StartsWith(path, e.Message);
                }
            }
        }

        Assert.True(refused > whole.Length / 2, $"{refused} of {2 * whole.Length}");
    }

    [Theory]
    [InlineData("", "the file is empty")]
    [InlineData("IQ== 0\nIg== 1\n", "tiktoken")]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull")]
    [InlineData("{\"model\": {}}", "not a SentencePiece model")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0002\u00da\u000c\u0000", "field 203")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0001", "there is no piece of type UNKNOWN")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0002\n\u0005\n\u0001b\u0018\u0009", "type 9")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0002\n\u0005\n\u0001b\u0018\u0002", "second unknown piece")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0002\n\u0005\n\u0001b\u0018\u0001\n\u0005\n\u0001b\u0018\u0001", "defined twice")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0002\u0012\u0002\u0018\u0007", "model_type 7")]
    [InlineData("\n\u0005\n\u0001a\u0018\u0002\u001a\u0004\u0012\u0002ab", "precompiled_charsmap")]
    public void UnusableFilesAreNamed(string contents, string message)
    {
        string path = folder["tokenizer.model"];
        File.WriteAllBytes(path, Encoding.Latin1.GetBytes(contents));
        string error = Assert.Throws<UserException>(() => Tokenizers.Open(path)).Message;
        Assert.StartsWith(path, error);
        Assert.Contains(message, error);
        Assert.DoesNotContain('\n', error);
    }
}
