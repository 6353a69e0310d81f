using ILGpuOptim.Compute;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>Documents of a batch, packed or padded, are what they are alone: for every family of one stack that has recorded results.</summary>
public class DocumentTests
{
    private static readonly int[] Lengths = [5, 1, 9, 12, 2];

    public static TheoryData<string> Families
    {
        get
        {
            var names = new TheoryData<string>();
            foreach (string name in Directory.GetDirectories(Goldens.Folder("models")).Select(folder => Path.GetFileName(folder)!).Where(name => !name.StartsWith("t5", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
                names.Add(name);
            return names;
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void LogitsAreThoseOfEachDocumentAlone(string name)
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", name), device);
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        int vocabulary = model.Config.VocabularySize, longest = Lengths.Max(), count = Lengths.Sum();
        Assert.True(longest <= model.Config.ContextLength, $"{name} has {model.Config.ContextLength} positions");
        var random = new Random(5);
        int[] packed = [.. Enumerable.Range(0, count).Select(_ => Id(random, model.Config))], numbers = [.. Lengths.SelectMany((length, i) => Enumerable.Repeat(i, length))];
        int[] padded = new int[Lengths.Length * longest], mask = new int[padded.Length];
        var expected = new List<float[]>();
        for (int row = 0, at = 0; row < Lengths.Length; at += Lengths[row], row++)
        {
            packed.AsSpan(at, Lengths[row]).CopyTo(padded.AsSpan(row * longest));
            mask.AsSpan(row * longest, Lengths[row]).Fill(1);
            expected.AddRange(model.Logits(tape, packed.AsSpan(at, Lengths[row]), 1).ToArray().Chunk(vocabulary));
            tape.Reset();
        }

        float[][] rows = [.. model.Logits(tape, new TokenBatch(padded, Lengths.Length) { Mask = mask }).ToArray().Chunk(vocabulary)];
        tape.Reset();
        Assert.All(expected.Zip(rows.Where((_, i) => mask[i] == 1)), pair => Close(pair.First, pair.Second));
        if (count <= model.Config.ContextLength)
        {
            float[][] together = [.. model.Logits(tape, new TokenBatch(packed, 1) { Documents = numbers }).ToArray().Chunk(vocabulary)];
            tape.Reset();
            Assert.All(expected.Zip(together), pair => Close(pair.First, pair.Second));
        }

        // Two sequences, the second of which begins within the numbers of the first.
        int[] twice = [.. packed[..12], .. packed[3..15]], documents = [.. numbers[..12], .. numbers[3..15]];
        float[][] two = [.. model.Logits(tape, new TokenBatch(twice, 2) { Documents = documents }).ToArray().Chunk(vocabulary)];
        tape.Reset();
        Assert.All(expected.Take(6).Zip(two), pair => Close(pair.First, pair.Second));
    }

    /// <summary>An id that is no padding, whose position RoBERTa does not count.</summary>
    private static int Id(Random random, ModelConfig config)
    {
        int id = random.Next(config.VocabularySize);
        return id == config.PadToken ? (id + 1) % config.VocabularySize : id;
    }

    private static void Close(float[] expected, float[] actual)
    {
        double scale = Math.Max(1, expected.Max(Math.Abs));
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 3e-6 * scale));
    }
}
