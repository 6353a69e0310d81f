using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models.Transformers;

/// <summary>Transformers of random descriptions: every option with every other.</summary>
public class TransformerTests
{
    private const int Seeds = 60;

    public static TheoryData<int> All => [.. Enumerable.Range(0, Seeds)];

    public static TheoryData<int> Some => [.. Enumerable.Range(0, Seeds / 3)];

    [Theory]
    [MemberData(nameof(All))]
    public void GradientsAgreeWithCentralDifferences(int seed)
    {
        using var device = new ReferenceDevice();
        TransformerDescription description = seed % 4 == 3 ? new RandomDescription(seed).MakeWithEncoder() : new RandomDescription(seed).Make();
        using LanguageModel model = Fresh(description, device, seed);
        var random = new Random(seed);
        Inputs inputs = Inputs.Draw(random, description);
        using var tape = new Tape(device);
        tape.Backward(Loss(model, tape, inputs));
        double LargestOf(Parameter parameter) => Enumerable.Range(0, (int)parameter.Length).Max(i => Math.Abs(device[tape.Gradients[parameter], i]));
        double all = model.Parameters.Max(LargestOf);
        foreach (Parameter parameter in model.Parameters)
        {
            Block gradient = tape.Gradients[parameter];
            double largest = Math.Max(LargestOf(parameter), 1e-2 * all); // what cancels leaves the rounding of what it is made of
            for (int sample = 0; sample < 3; sample++)
            {
                int i = random.Next((int)parameter.Length);
                double value = device[parameter.Data, i];
                const double Step = 1e-5;
                double expected = (LossAt(value + Step) - LossAt(value - Step)) / (2 * Step);
                device[parameter.Data, i] = value;
                Assert.True(Math.Abs(device[gradient, i] - expected) <= 2e-6 * Math.Max(1e-2, largest), $"{parameter.Name}[{i}]: {device[gradient, i]} instead of {expected}\n{description}");

                double LossAt(double at)
                {
                    device[parameter.Data, i] = at;
                    using var fresh = new Tape(device) { IsRecording = false };
                    return device[Loss(model, fresh, inputs).Data, 0];
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Some))]
    public void TheCpuAgreesWithTheReference(int seed)
    {
        TransformerDescription description = seed % 4 == 3 ? new RandomDescription(seed).MakeWithEncoder() : new RandomDescription(seed).Make();
        using var cpu = new CpuDevice(2);
        using var reference = new ReferenceDevice();
        Dictionary<string, float[]> actual = Gradients(cpu, description, seed), expected = Gradients(reference, description, seed);
        double largest = expected.Values.Max(values => values.Max(value => Math.Abs((double)value)));
        foreach ((string name, float[] values) in expected)
        {
            double bound = 2e-5 * Math.Max(values.Max(value => Math.Abs((double)value)), 1e-2 * largest);
            for (int i = 0; i < values.Length; i++)
                Assert.True(Math.Abs(actual[name][i] - values[i]) <= bound, $"{name}[{i}]: {actual[name][i]} instead of {values[i]}\n{description}");
        }
    }

    /// <summary>Sequences of several lengths, read and then continued together, give the logits of each read as a whole.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void DecodingWithKeptKeysIsTheWholeForwardPass(int seed)
    {
        bool encodes = seed % 4 == 3;
        Decodes(encodes ? new RandomDescription(seed).MakeWithEncoder() : new RandomDescription(seed).Make(isCausal: true), seed);
    }

    /// <summary>Rotations that turn all keys otherwise once a sequence passes a length; the others of a batch are shorter.</summary>
    [Theory]
    [InlineData("dynamic")]
    [InlineData("longrope")]
    public void KeysAreComputedAgainWhereScaledRotationsChange(string kind)
    {
        RotaryScaling scaling = kind == "dynamic"
            ? new RotaryScaling { Kind = kind, Factor = 3 }
            : new RotaryScaling { Kind = kind, OriginalPositions = 6, ShortFactors = [1, 1.2], LongFactors = [1.5, 4], Factor = 4 };
        var rotary = new RotaryDescription(100, 4, scaling) { MaxPositions = 6 };
        for (int seed = 0; seed < 6; seed++)
        {
            TransformerDescription description = new RandomDescription(seed).Make(isCausal: true);
            Decodes(description with { Blocks = [.. description.Blocks.Select(block => block with { Attention = block.Attention with { HeadSize = 4, Rotary = rotary } })] }, seed);
        }
    }

    private static void Decodes(TransformerDescription description, int seed)
    {
        bool encodes = description.Encoder is not null;
        using var device = new CpuDevice(2);
        using LanguageModel model = Fresh(description, device, seed);
        var random = new Random(seed);
        int count = random.Next(1, 4), steps = 5;
        int[][] texts = [.. Enumerable.Range(0, count).Select(_ => Inputs.Tokens(random, random.Next(1, 12)))], read = [.. Enumerable.Range(0, count).Select(_ => Inputs.Tokens(random, random.Next(1, 9)))];
        int longest = texts.Max(text => text.Length);
        using Decoder decoder = Decoder.Create(model, device, count, longest + steps, encodes ? read.Max(text => text.Length) : 0);
        for (int i = 0; encodes && i < count; i++)
            decoder.Encode(i, read[i]);
        decoder.Begin(longest);
        for (int i = 0; i < count; i++)
            decoder.Prefill(i, texts[i]);
        for (int step = 0; ; step++)
        {
            var logits = new float[count * description.VocabularySize];
            decoder.Logits(logits);
            for (int i = 0; i < count; i++)
                Close(Last(model, device, texts[i], encodes ? read[i] : []), logits[(i * description.VocabularySize)..((i + 1) * description.VocabularySize)], description);
            if (step == steps)
                return;
            int[] next = Inputs.Tokens(random, count);
            decoder.Step(next);
            for (int i = 0; i < count; i++)
                texts[i] = [.. texts[i], next[i]];
        }
    }

    [Theory]
    [MemberData(nameof(Some))]
    public void PaddingIsNoKey(int seed)
    {
        bool encodes = seed % 4 == 3;
        TransformerDescription description = encodes ? new RandomDescription(seed).MakeWithEncoder() : new RandomDescription(seed).Make();
        using var device = new CpuDevice(1);
        using LanguageModel model = Fresh(description, device, seed);
        var random = new Random(seed);
        int[] tokens = Inputs.Tokens(random, 7), written = encodes ? Inputs.Tokens(random, 5) : [];
        float[] alone = Logits(model, device, new TokenBatch(tokens, 1) { DecoderTokens = written });
        float[] padded = Logits(model, device, new TokenBatch([.. tokens, 1, 1, 1], 1) { Mask = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], DecoderTokens = written });
        Close(alone, padded[..alone.Length], description);
    }

    [Theory]
    [MemberData(nameof(Some))]
    public void DocumentsDoNotSeeEachOther(int seed)
    {
        TransformerDescription description = new RandomDescription(seed).Make();
        using var device = new CpuDevice(1);
        using LanguageModel model = Fresh(description, device, seed);
        var random = new Random(seed);
        int[][] documents = [Inputs.Tokens(random, 4), Inputs.Tokens(random, 1), Inputs.Tokens(random, 6)];
        int[] numbers = [.. documents.SelectMany((document, i) => document.Select(_ => 7 - i))];
        float[] together = Logits(model, device, new TokenBatch([.. documents.SelectMany(document => document)], 1) { Documents = numbers });
        Close([.. documents.SelectMany(document => Logits(model, device, new TokenBatch(document, 1)))], together, description);
    }

    [Fact]
    public void CrossAttentionThatWouldIgnoreASettingIsRefused()
    {
        using var device = new CpuDevice(1);
        TransformerDescription t5 = new T5Config { VocabularySize = 11, HiddenSize = 8, HeadSize = 4, Heads = 2, IntermediateSize = 8, Layers = 1 }.Describe();
        BlockDescription block = t5.Blocks[0];
        foreach (AttentionDescription cross in new[] { block.CrossAttention! with { KeysBefore = 2 }, block.CrossAttention! with { Rotary = new RotaryDescription(10_000, 4) { MaxPositions = 16 } } })
        {
            var error = Assert.Throws<ArgumentException>(() => new Layers.TransformerStack(new Layers.Initializer(device, 0), t5 with { Blocks = [block with { CrossAttention = cross }] }));
            Assert.Contains("no rotary positions, relative biases or windows", error.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>A batch without tokens has a loss of zero and no logits, also beside an encoder.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void AnEmptyBatchHasNoLogits(int sequences)
    {
        using var device = new CpuDevice(1);
        foreach (ModelConfig config in (ModelConfig[])[
            new T5Config { VocabularySize = 11, HiddenSize = 8, HeadSize = 4, Heads = 2, IntermediateSize = 8, Layers = 1 },
            new LlamaConfig { VocabularySize = 11, HiddenSize = 8, Heads = 2, IntermediateSize = 8, Layers = 1 }])
        {
            using LanguageModel model = config.Create(new Layers.Initializer(device, 1));
            var tape = new Tape(device);
            Assert.Equal([0, 11], model.Logits(tape, new TokenBatch([], sequences)).Shape);
            if (model.HasEncoder && sequences > 0)
                Assert.Contains("no Tokens for the encoder of T5", Assert.Throws<ArgumentException>(() => model.Logits(tape, new TokenBatch([], sequences) { DecoderTokens = [1, 2] })).Message, StringComparison.Ordinal);
            tape.Reset();
            Tensor loss = model.Loss(tape, new TokenBatch([], sequences), []);
            Assert.Equal(0, loss.Item());
            tape.Backward(loss);
        }
    }

    [Fact]
    public void APaddingRowIsZeroAtFirstAndStays()
    {
        TransformerDescription description = new RandomDescription(1).Make() with
        {
            Embedding = new EmbeddingDescription { Tokens = "tokens", PaddingToken = 1, Positions = new PositionTableDescription("positions", RandomDescription.MaxPositions + 2, 1) },
            Head = new HeadDescription { Projection = new ProjectionDescription("head") },
        };
        using var device = new CpuDevice(1);
        using LanguageModel model = DescribedConfig.Of(description).Create(new Initializer(device, 1));
        using var tape = new Tape(device);
        tape.Backward(model.Loss(tape, [3, 1, 4, 1, 5], [1, 4, 1, 5, 9], 1));
        foreach (Parameter table in model.Parameters.Take(2))
        {
            float[] values = table.ToArray(), gradient = new float[table.Length];
            device.Download(tape.Gradients[table], gradient);
            Assert.All(Row(values, 1), value => Assert.Equal(0, value));
            Assert.All(Row(gradient, 1), value => Assert.Equal(0, value));
            Assert.Contains(Row(values, 3), value => value != 0);
            Assert.Contains(Row(gradient, 3), value => value != 0);
        }

        float[] Row(float[] values, int row) => values[(row * description.HiddenSize)..((row + 1) * description.HiddenSize)];
    }

    [Fact]
    public void WrongBatchesAreNamed()
    {
        using var device = new CpuDevice(1);
        var embedding = new EmbeddingDescription { Tokens = "tokens", Positions = new PositionTableDescription("positions", 24) };
        using LanguageModel model = Fresh(new RandomDescription(2).Make() with { Embedding = embedding }, device, 2), pair = Fresh(new RandomDescription(3).MakeWithEncoder(), device, 3);
        using var tape = new Tape(device) { IsRecording = false };
        Assert.Contains("3 tokens are not 2 sequences", Message(() => model.Logits(tape, new TokenBatch([1, 2, 3], 2))), StringComparison.Ordinal);
        Assert.Contains("25 tokens is longer than the model's 24 positions", Message(() => model.Logits(tape, new TokenBatch(new int[25], 1))), StringComparison.Ordinal);
        Assert.Contains("vocabulary of 19", Message(() => model.Logits(tape, new TokenBatch([19], 1))), StringComparison.Ordinal);
        Assert.Contains("2 tokens need as many mask values, not 1", Message(() => model.Logits(tape, new TokenBatch([1, 2], 1) { Mask = [1] })), StringComparison.Ordinal);
        Assert.Contains("outside the model's 24 positions", Message(() => model.Logits(tape, new TokenBatch([1, 2], 1) { Positions = [0, 24] })), StringComparison.Ordinal);
        Assert.Contains("outside the model's 1 segments", Message(() => model.Logits(tape, new TokenBatch([1, 2], 1) { Segments = [0, 1] })), StringComparison.Ordinal);
        Assert.Contains("is one stack", Message(() => model.Logits(tape, new TokenBatch([1, 2], 1) { DecoderTokens = [1] })), StringComparison.Ordinal);
        Assert.Contains(nameof(TokenBatch.DecoderTokens), Message(() => pair.Logits(tape, new TokenBatch([1, 2], 1))), StringComparison.Ordinal);
        Assert.Contains("3 targets for 2 tokens", Message(() => model.Loss(tape, [1, 2], [1, 2, 3], 1)), StringComparison.Ordinal);
        tape.Reset();

        static string Message(Func<Tensor> action) => Assert.ThrowsAny<ArgumentException>(action).Message;
    }

    /// <summary>Only a table of positions limits a sequence: without one, what follows the limit does not change what precedes it.</summary>
    [Fact]
    public void SequencesWithoutATableGoOnBeyondTheContext()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = Fresh(new RandomDescription(2).Make(isCausal: true) with { Embedding = new EmbeddingDescription { Tokens = "tokens" } }, device, 2);
        using var tape = new Tape(device) { IsRecording = false };
        int[] tokens = Inputs.Tokens(new Random(2), 2 * model.Config.ContextLength);
        float[] whole = model.Logits(tape, new TokenBatch(tokens, 1)).ToArray();
        float[] beginning = model.Logits(tape, new TokenBatch(tokens.AsSpan(0, model.Config.ContextLength), 1)).ToArray();
        Close(beginning, whole[..beginning.Length], ((Transformer)model).Description);
        int[] far = [.. Enumerable.Range(1 << 20, tokens.Length)];
        Assert.All(model.Logits(tape, new TokenBatch(tokens, 1) { Positions = far }).ToArray(), value => Assert.True(float.IsFinite(value)));
        tape.Reset();
    }

    /// <summary>What a loss is computed from.</summary>
    private sealed record Inputs(int Sequences, int[] Read, int[] Written, int[] Targets, int[] Segments, int[] Mask, int[] Documents)
    {
        public TokenBatch Batch => new(Read, Sequences) { DecoderTokens = Written, Segments = Segments, Mask = Mask, Documents = Documents };

        public static Inputs Draw(Random random, TransformerDescription description)
        {
            bool encodes = description.Encoder is not null;
            int sequences = random.Next(1, 3), length = random.Next(1, 8), written = random.Next(1, 6), count = sequences * length;
            int[] read = Tokens(random, count);
            int[] mask = random.Next(3) == 0 ? [.. read.Select((_, i) => i % length == 0 || random.Next(3) > 0 ? 1 : 0)] : [];
            int[] documents = !encodes && random.Next(3) == 0 ? [.. read.Select((_, i) => i % length / 3)] : [];
            int[] segments = description.Embedding.Segments is not null ? [.. read.Select(_ => random.Next(2))] : [];
            int[] targets = [.. Tokens(random, encodes ? sequences * written : count).Select((token, i) => i > 0 && random.Next(4) == 0 ? -1 : token)];
            return new Inputs(sequences, read, encodes ? Tokens(random, sequences * written) : [], targets, segments, mask, documents);
        }

        /// <summary>Tokens without the padding id, whose lookups pass no gradient.</summary>
        public static int[] Tokens(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(2, RandomDescription.VocabularySize))];
    }

    private static Tensor Loss(LanguageModel model, Tape tape, Inputs inputs) => model.Loss(tape, inputs.Batch, inputs.Targets, 0.7f);

    private static Dictionary<string, float[]> Gradients(Device device, TransformerDescription description, int seed)
    {
        using LanguageModel model = Fresh(description, device, seed);
        using var tape = new Tape(device);
        Tensor loss = Loss(model, tape, Inputs.Draw(new Random(seed), description));
        loss.IsKept = true;
        tape.Backward(loss);
        var result = new Dictionary<string, float[]> { ["loss"] = [loss.Item()] };
        foreach (Parameter parameter in model.Parameters)
            device.Download(tape.Gradients[parameter], result[parameter.Name] = new float[parameter.Length]);
        return result;
    }

    private static float[] Logits(LanguageModel model, Device device, in TokenBatch batch)
    {
        using var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        return model.Logits(tape, batch).ToArray();
    }

    private static float[] Last(LanguageModel model, Device device, int[] text, int[] read)
    {
        float[] logits = Logits(model, device, read.Length > 0 ? new TokenBatch(read, 1) { DecoderTokens = text } : new TokenBatch(text, 1));
        return logits[^RandomDescription.VocabularySize..];
    }

    private static void Close(float[] expected, float[] actual, TransformerDescription description)
    {
        float largest = Math.Max(1e-2f, expected.Max(MathF.Abs));
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.True(MathF.Abs(expected[i] - actual[i]) <= 2e-5f * largest, $"[{i}]: {actual[i]} instead of {expected[i]}\n{description}");
    }

    /// <summary>Wide weights, so that nothing is nearly linear.</summary>
    private static LanguageModel Fresh(TransformerDescription description, Device device, int seed)
    {
        LanguageModel model = DescribedConfig.Of(description).Create(new Initializer(device, 3));
        var initializer = new Initializer(device, (ulong)seed);
        foreach (Parameter parameter in model.Parameters)
            initializer.Fill(parameter, 0.6f, 0);
        return model;
    }
}
