using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>T5 in GGUF files. That llama.cpp computes the same from the files is checked by tests/ILGpuOptim.ExportOracle.</summary>
public class GgufT5Tests
{
    private static T5Config Small => new()
    {
        VocabularySize = 40,
        HiddenSize = 24,
        HeadSize = 5,
        IntermediateSize = 30,
        Layers = 3,
        DecoderLayers = 2,
        Heads = 3,
        ContextLength = 20,
        DecoderStartToken = 2,
        Dropout = 0,
    };

    public static TheoryData<T5Config> Configs => new(
        Small,
        Small with { DecoderLayers = null, TieWordEmbeddings = false, FeedForwardKind = "gated-gelu", PadToken = null, EndToken = null },
        Small with { TieWordEmbeddings = false, ScaleDecoderOutputs = true },
        Small with { Buckets = 7, MaxDistance = 19 },
        Small with { Buckets = 32, MaxDistance = 300, ContextLength = 128 });

    [Theory]
    [MemberData(nameof(Configs))]
    public void AModelThatWentThereAndBackHasTheSameBits(T5Config config)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(config, device);
        GgufModelFile.Export(model, null, [], folder["a.gguf"], GgufType.F32);
        using LanguageModel read = GgufModelFile.Import(folder["a.gguf"], device, null);
        Assert.Equal(model.Parameters.Select(parameter => parameter.Name), read.Parameters.Select(parameter => parameter.Name));
        foreach ((Parameter expected, Parameter actual) in model.Parameters.Zip(read.Parameters))
            Assert.Equal(expected.ToArray(), actual.ToArray());
        Assert.Equal(Logits(model), Logits(read));
        var other = (T5Config)read.Config;
        Assert.Equal((config.Buckets, config.MaxDistance, config.DecoderStartToken, config.EndToken), (other.Buckets, other.MaxDistance, other.DecoderStartToken, other.EndToken));
        // Without a padding token, the start token is the padding.
        Assert.Equal(config.SpanTokens!.Padding, other.PadToken);
        Assert.Equal(((Transformer)model).Description.Head.Scale, ((Transformer)read).Description.Head.Scale);
    }

    [Fact]
    public void AHeadWithoutAScaleIsWrittenAsOneOfItsOwn()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small with { ScaleDecoderOutputs = false }, device);
        GgufModelFile.Export(model, null, [], folder["a.gguf"], GgufType.F32);
        using LanguageModel read = GgufModelFile.Import(folder["a.gguf"], device, null);
        Assert.False(read.Config.TieWordEmbeddings);
        Assert.Equal(Logits(model), Logits(read), (x, y) => Math.Abs(x - y) <= 1e-5f);
    }

    [Fact]
    public void TheScaleOfTheHeadIsPutIntoTheLastNorm()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small, device);
        GgufModelFile.Export(model, null, [], folder["a.gguf"], GgufType.Q8_0);
        using var file = new GgufFile(folder["a.gguf"]);
        float[] norm = model.Parameters.Single(parameter => parameter.Name == "decoder.final_layer_norm.weight").ToArray();
        Assert.Equal(norm.Select(value => value * (1 / MathF.Sqrt(24))), file.Read(file.Tensors["dec.output_norm.weight"]));
        Assert.Equal(3L, file.Metadata["t5.block_count"]);
        Assert.Equal(2L, file.Metadata["t5.decoder_block_count"]);
        Assert.Equal(32L, file.Metadata["t5.attention.relative_buckets_count"]);
        Assert.Equal(2L, file.Metadata["t5.decoder_start_token_id"]);
    }

    /// <summary>Files that llama.cpp's own converter writes hold the norm itself, and may have keys and a tensor that nothing reads.</summary>
    [Fact]
    public void FilesOfOtherConvertersAreRead()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small, device);
        (GgufTensor[] tensors, List<(string Key, object Value)> values) = Parts(model);
        values.RemoveAll(value => value.Key.StartsWith("ilgpuoptim.", StringComparison.Ordinal));
        values.Add(("t5.attention.layer_norm_epsilon", 1e-6f));
        using var folder = new TemporaryFolder();
        Write(folder["a.gguf"], model, values, [.. tensors.Select(tensor => tensor with { Factor = 1 }), new("dec.blk.0.cross_attn_rel_b.weight", [32, 3], "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")]);
        using LanguageModel read = GgufModelFile.Import(folder["a.gguf"], device, null);
        Assert.Equal(Logits(model), Logits(read));
    }

    [Fact]
    public void WhatWouldChangeResultsIsRefusedByName()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small with { MaxDistance = 40 }, device);
        Refuse("a.gguf: the metadata describes a model that llama.cpp does not have: ", ("t5.block_count", 1u));
        Refuse("dec.output_norm.weight does not follow from the values of ilgpuoptim.dec.output_norm.weight", ("ilgpuoptim.dec.output_norm.weight", new float[24]));
        Refuse("enc.blk.0.attn_rel_b.weight does not follow", ("ilgpuoptim.enc.blk.0.attn_rel_b.weight", new float[3]));
        Refuse("t5.attention.value_length is 6 where T5 has 5", ("t5.attention.value_length", 6u));
        Refuse("t5.logit_scale is not supported", ("t5.logit_scale", 2f));
        Refuse("t5.decoder_start_token_id must be", ("t5.decoder_start_token_id", -1));
        Refuse("tokenizer.ggml.padding_token_id must be", ("tokenizer.ggml.padding_token_id", "0"));

        void Refuse(string message, (string Key, object Value) change) => Refuses(model, message, change);
    }

    [Fact]
    public void ADamagedTokenizerIsRefusedByName()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small, device);
        string[] tokens = [.. Enumerable.Range(0, 40).Select(id => $"t{id}")];
        (string Key, object Value)[] whole = [("model", "t5"), ("tokens", tokens), ("scores", new float[40]), ("remove_extra_whitespaces", true)];
        Refuse("tokens has \"t1\" twice", "tokens", (string[])["t1", .. tokens[1..]]);
        Refuse("tokens has 39 tokens, but the model 40", "tokens", tokens[1..]);
        Refuse("scores has NaN", "scores", (float[])[float.NaN, .. new float[39]]);
        Refuse("scores does not have a score for every token", "scores", new float[39]);
        Refuse("precompiled_charsmap has 256, which is no byte", "precompiled_charsmap", (int[])[256, 0, 0, 0, 0]);
        Refuse("precompiled_charsmap is damaged", "precompiled_charsmap", (byte[])[255, 255, 255, 127, 0]);
        Refuse("unknown_token_id is no id", "unknown_token_id", 40u);

        void Refuse(string message, string key, object value) =>
            Refuses(model, message, [.. whole.Where(item => item.Key != key).Append((key, value)).Select(item => ("tokenizer.ggml." + item.Item1, item.Item2))]);
    }

    private static void Refuses(LanguageModel model, string message, params (string Key, object Value)[] changes)
    {
        using var folder = new TemporaryFolder();
        (GgufTensor[] tensors, List<(string Key, object Value)> values) = Parts(model);
        values.RemoveAll(value => changes.Any(change => change.Key == value.Key));
        Write(folder["a.gguf"], model, [.. values, .. changes], tensors);
        Assert.Contains(message, Assert.Throws<UserException>(() => GgufModelFile.Import(folder["a.gguf"], model.Device, null)).Message);
    }

    [Theory]
    [InlineData("gated-silu", "the activation \"silu\"")]
    [InlineData("gelu", "the activation \"gelu\"")]
    public void OtherActivationsAreRefused(string kind, string message)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small with { FeedForwardKind = kind }, device);
        Assert.Contains(message, Assert.Throws<UserException>(() => GgufModelFile.Export(model, null, [], folder["a.gguf"], GgufType.F32)).Message);
    }

    [Fact]
    public void SpecialTokensAfterThoseOfTheTokenizerComeBack()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        CharTokenizer tokenizer = CharTokenizer.From("The end of\n all");
        int count = tokenizer.VocabularySize;
        using LanguageModel model = Spread(Small with { PadToken = count, EndToken = count + 1, DecoderStartToken = count, SentinelTokens = [39, 38, 37] }, device);
        GgufModelFile.Export(model, tokenizer, [], folder["a.gguf"], GgufType.F16);
        using LanguageModel read = GgufModelFile.Import(folder["a.gguf"], device, folder.Path);
        Assert.Equal(model.Config.SpanTokens!.Sentinels, read.Config.SpanTokens!.Sentinels);
        Assert.Equal((count, (int?)(count + 1)), (read.Config.SpanTokens.Padding, read.Config.SpanTokens.End));
        Assert.Equal(tokenizer.Encode("The hall"), Tokenizers.Load(folder.Path)!.Encode("The hall"));
    }

    [Fact]
    public void UnigramTokenizersComeBack()
    {
        ITokenizer pieces = Tokenizers.Open(Path.Combine(Goldens.Folder("sentencepiece"), "unigram.model"));
        int count = pieces.VocabularySize;
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small with { VocabularySize = count + 5, PadToken = count, SentinelTokens = [count + 4, count + 3] }, device);
        using var first = new TemporaryFolder();
        using var second = new TemporaryFolder();
        ITokenizer read = There(pieces, first), again = There(read, second);
        string text = "  The heaven   and the earth. ";
        Assert.Equal(pieces.Encode(text), read.Encode(text));
        Assert.Equal(pieces.Encode(text), again.Encode(text));
        Assert.Equal("The heaven and the earth.", read.Decode(read.Encode(text)));
        int[] expected = [.. pieces.Encode("The"), count + 4, .. pieces.Encode("earth"), count + 3];
        Assert.Equal(expected, again.Encode("The <extra_id_0> earth<extra_id_1>"));

        ITokenizer There(ITokenizer tokenizer, TemporaryFolder folder)
        {
            GgufModelFile.Export(model, tokenizer, [], folder["a.gguf"], GgufType.F32);
            GgufModelFile.Import(folder["a.gguf"], device, folder.Path).Dispose();
            return Tokenizers.Load(folder.Path)!;
        }
    }

    [Theory]
    [InlineData("\"byte_fallback\": false", "\"byte_fallback\": true", "byte_fallback")]
    [InlineData("\"unk_id\": 1", "\"unk_id\": null", "unk_id")]
    [InlineData("\"prepend\": \"▁\"", "\"prepend\": \"\"", "one ▁ before each word")]
    [InlineData("\" +\"", "\" \"", "for example with \"a  b \"")]
    public void UnigramTokenizersThatLlamaCppDoesNotHaveAreRefused(string part, string other, string message)
    {
        string json = """
            {"version": "1.0", "added_tokens": [], "pre_tokenizer": null, "post_processor": null, "decoder": null,
             "normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "\\A +| +\\z"}, "content": ""}, {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"}]},
             "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false, "vocab": [["▁", -1], ["<unk>", 0], ["a", -2], ["b", -2]]}}
            """;
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = Spread(Small, device);
        GgufModelFile.Export(model, Open(json), [], folder["a.gguf"], GgufType.F32);
        string changed = json.Replace(part, other, StringComparison.Ordinal);
        Assert.NotEqual(json, changed);
        Assert.Contains(message, Assert.Throws<UserException>(() => GgufModelFile.Export(model, Open(changed), [], folder["b.gguf"], GgufType.F32)).Message);

        ITokenizer Open(string contents)
        {
            File.WriteAllText(folder["tokenizer.json"], contents);
            return Tokenizers.Open(folder["tokenizer.json"]);
        }
    }

    [Fact]
    public void AMapOfSeveralLettersIsFound()
    {
        Assert.True(Map("unigram-rules").JoinsLetters);
        Assert.False(Map("unigram-nmt-nfkc-cf").JoinsLetters);

        // A damaged map, in which every letter leads back to the root.
        byte[] cycle = [0, 4, 0, 0, .. Enumerable.Range(0, 256).SelectMany(i => BitConverter.GetBytes(i | (i << 10))), 0];
        Assert.False(new CharacterMap(cycle, "map").JoinsLetters);

        static CharacterMap Map(string name)
        {
            using var packed = new System.IO.Compression.GZipStream(File.OpenRead(Path.Combine(Goldens.Folder("tokenizers", "sentencepiece"), name + ".model.gz")), System.IO.Compression.CompressionMode.Decompress);
            using var contents = new MemoryStream();
            packed.CopyTo(contents);
            CharacterMap map = SentencePieceFile.Read(contents.ToArray(), name).Normalizer.Characters!;
            Assert.Equal(map.ToBytes(), new CharacterMap(map.ToBytes(), name).ToBytes());
            return map;
        }
    }

    private static (GgufTensor[] Tensors, List<(string Key, object Value)> Values) Parts(LanguageModel model)
    {
        TransformerDescription description = ((Transformer)model).Description;
        GgufArchitecture architecture = GgufArchitecture.Of(model.Config).For(model.Config, description);
        GgufTensor[] tensors = [.. GgufTensors.Of(description, architecture)];
        return (tensors,
        [
            .. new GgufModelMetadata(model.Config, description, architecture).Values(GgufType.F32),
            .. tensors.Where(tensor => tensor.KeepsOriginal).Select(tensor => (GgufT5.OriginalOf(tensor.Name), (object)ValuesOf(model, tensor))),
            .. GgufTokenizer.Of(null, model.Config, [], []),
        ]);
    }

    private static float[] ValuesOf(LanguageModel model, GgufTensor tensor) => model.Parameters.Single(parameter => parameter.Name == tensor.Parameters[0]).ToArray();

    private static void Write(string path, LanguageModel model, IReadOnlyList<(string, object)> values, GgufTensor[] tensors)
    {
        using var writer = new GgufWriter(path, values, [.. tensors.Select(tensor => new GgufTensorInfo(tensor.Name, GgufType.F32, tensor.Shape))]);
        foreach (GgufTensor tensor in tensors)
            writer.Write(tensor.ToFile(ValuesOf(model, tensor)));
        writer.Finish();
    }

    /// <summary>A model whose norms are not all 1.</summary>
    private static LanguageModel Spread(T5Config config, CpuDevice device)
    {
        LanguageModel model = config.Create(new Initializer(device, 1));
        var random = new Random(5);
        foreach (Parameter parameter in model.Parameters)
            parameter.Load([.. parameter.ToArray().Select(value => value + 0.3f * (random.NextSingle() - 0.5f))]);
        return model;
    }

    private static float[] Logits(LanguageModel model)
    {
        using var tape = new Tape(model.Device);
        return model.Logits(tape, new TokenBatch([1, 7, 12, 0, 3, 3, 9, 1], 1) { DecoderTokens = [2, 5, 30, 4, 4] }).ToArray();
    }
}
