using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>Models in GGUF files and back. That llama.cpp computes the same from the files is checked by tests/ILGpuOptim.ExportOracle.</summary>
public class GgufModelTests
{
    private static readonly string[] Families = ["gpt2", "gpt_neox", "llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "olmo2", "smollm3", "t5v11"];

    public static TheoryData<string, GgufType> Cases =>
        new(Families.SelectMany(family => Enum.GetValues<GgufType>().Select(type => (family, type))));

    private static string Golden(string family) => Goldens.Folder("models", family + "-tiny");

    [Theory]
    [MemberData(nameof(Cases))]
    public void AModelThatWentThereAndBackComputesWhatTheFileHolds(string family, GgufType type)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Golden(family), device);
        GgufModelFile.Export(model, null, [], folder["first.gguf"], type);
        using LanguageModel read = GgufModelFile.Import(folder["first.gguf"], device, null);
        GgufModelFile.Export(read, null, [], folder["second.gguf"], GgufType.F32);
        using (var first = new GgufFile(folder["first.gguf"]))
        using (var second = new GgufFile(folder["second.gguf"]))
        {
            Assert.Equal(first.Tensors.Keys, second.Tensors.Keys);
            foreach ((string name, GgufEntry tensor) in first.Tensors)
                Assert.Equal(first.Read(tensor), second.Read(second.Tensors[name]));
        }

        if (type != GgufType.F32)
            return;
        int[] ids = [1, 7, 12, 0, 3, 3];
        using var tape = new Tape(device);
        Assert.Equal(Logits(model), Logits(read), (x, y) => Math.Abs(x - y) < 1e-5f);
        Assert.Equal(model.Parameters.Select(parameter => parameter.Name), read.Parameters.Select(parameter => parameter.Name));
        // Norms with the factor 1 + weight hold the sum in the file, and Gemma's scale of scores is put into weights.
        for (int i = 0; i < model.Parameters.Count && !family.StartsWith("gemma", StringComparison.Ordinal); i++)
            Assert.Equal(model.Parameters[i].ToArray(), read.Parameters[i].ToArray());

        float[] Logits(LanguageModel of) => of.Logits(tape, of.HasEncoder ? new TokenBatch(ids, 1) { DecoderTokens = [0, 5, 2] } : new TokenBatch(ids, 1)).ToArray();
    }

    [Theory]
    [InlineData("bert", "the head that predicts masked tokens")]
    [InlineData("modernbert", "the head that predicts masked tokens")]
    [InlineData("t5", "T5 with num_decoder_layers = 3 above num_layers = 2")]
    [InlineData("qwen3_moe", "a layer without experts (1)")]
    public void ModelsThatLlamaCppDoesNotComputeAreRefusedByName(string family, string message)
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Golden(family), device);
        Refuse(message, model, null);
    }

    [Theory]
    [InlineData("llama", "rope_scaling", """{"rope_type":"dynamic","factor":2}""", "rope_scaling of type \"dynamic\"")]
    [InlineData("llama", "rope_scaling", """{"rope_type":"yarn","factor":2,"beta_fast":16}""", "beta_fast or beta_slow")]
    [InlineData("llama", "hidden_act", "\"gelu\"", "the activation \"gelu\"")]
    [InlineData("qwen3", "attention_bias", "true", "attention_bias")]
    [InlineData("gemma2", "attn_logit_softcapping", "null", "attn_logit_softcapping = null")]
    [InlineData("gemma3", "final_logit_softcapping", "3", "final_logit_softcapping = 3")]
    [InlineData("smollm3", "no_rope_layers", "[1,0,1,1]", "no_rope_layers")]
    [InlineData("gpt2", "scale_attn_weights", "false", "other attention scores")]
    [InlineData("gpt_neox", "attention_bias", "false", "attention_bias = false")]
    [InlineData("olmo2", "head_dim", "8", "head_dim = 8")]
    public void FieldsThatLlamaCppDoesNotHaveAreRefusedByName(string family, string field, string value, string message)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllBytes(Path.Combine(Golden(family), "config.json")))!.AsObject();
        config[field] = JsonNode.Parse(value);
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelConfig.Parse(config.ToJsonString(), family).Create(new Initializer(device, 1));
        Refuse(message, model, null);
    }

    [Theory]
    [InlineData("""{"rope_type":"linear","factor":4}""")]
    [InlineData("""{"rope_type":"yarn","factor":4,"original_max_position_embeddings":16}""")]
    [InlineData("""{"rope_type":"yarn","factor":4,"original_max_position_embeddings":16,"attention_factor":1.25}""")]
    [InlineData("""{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":16}""")]
    public void RotaryScalingComesBack(string scaling)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllBytes(Path.Combine(Golden("llama"), "config.json")))!.AsObject();
        config["rope_scaling"] = JsonNode.Parse(scaling);
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelConfig.Parse(config.ToJsonString(), "llama").Create(new Initializer(device, 1));
        GgufModelFile.Export(model, null, [], folder["a.gguf"], GgufType.F32);
        using LanguageModel read = GgufModelFile.Import(folder["a.gguf"], device, null);
        double[] expected = Frequencies(model, out double factor), actual = Frequencies(read, out double readFactor);
        Assert.Equal(expected, actual, (x, y) => Math.Abs(x / y - 1) < 1e-6);
        Assert.Equal(factor, readFactor, 1e-6);

        static double[] Frequencies(LanguageModel model, out double factor)
        {
            var frequencies = new RotaryFrequencies(((Transformer)model).Description.Blocks[0].Attention.Rotary!);
            factor = frequencies.AttentionFactor;
            return frequencies.Of(0);
        }
    }

    [Fact]
    public void WhatWouldChangeResultsIsRefusedByName()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Golden("llama"), device);
        Refuse("llama.attention.strange is not supported", [("llama.attention.strange", 1u)]);
        Refuse("general.architecture is \"mamba\"", [("general.architecture", "mamba")]);
        Refuse("one of 3 parts", [("split.count", 3)]);
        Refuse("tokenizer.ggml.model is \"plamo2\"", [("tokenizer.ggml.model", "plamo2"), ("tokenizer.ggml.tokens", Enumerable.Range(0, 97).Select(i => $"{i}").ToArray())]);
        Refuse("has 2 tokens, but the model 97", [("tokenizer.ggml.model", "llama"), ("tokenizer.ggml.tokens", new[] { "a", "b" })]);
        Refuse("llama.rope.scaling.type is \"strange\"", [("llama.rope.scaling.type", "strange")]);
        string[] tokens = [.. Enumerable.Range(0, 97).Select(i => $"{i}")];
        Refuse("tokenizer.ggml.strange is not supported", [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.tokens", tokens), ("tokenizer.ggml.strange", true)]);
        Refuse("add_sep_token is true", [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.tokens", tokens), ("tokenizer.ggml.add_sep_token", true)]);

        void Refuse(string message, (string Key, object Value)[] changes)
        {
            using var folder = new TemporaryFolder();
            TransformerDescription description = ((Transformer)model).Description;
            GgufArchitecture architecture = GgufArchitecture.Of(model.Config).For(model.Config, description);
            GgufTensor[] tensors = [.. GgufTensors.Of(description, architecture)];
            (string, object)[] values = [.. new GgufModelMetadata(model.Config, description, architecture).Values(GgufType.F32).ExceptBy(changes.Select(change => change.Key), value => value.Key), .. changes];
            using (var writer = new GgufWriter(folder["a.gguf"], values, [.. tensors.Select(tensor => new GgufTensorInfo(tensor.Name, GgufType.F32, tensor.Shape))]))
            {
                foreach (GgufTensor tensor in tensors)
                    writer.Write(new float[tensor.Shape.Aggregate(1, (product, size) => product * size)]);
                writer.Finish();
            }

            Assert.Contains(message, Assert.Throws<UserException>(() => GgufModelFile.Import(folder["a.gguf"], device, null)).Message);
        }
    }

    [Fact]
    public void TokenizersComeBack()
    {
        var trainer = new BytePairTrainer();
        trainer.Add(DefaultCorpus.Text[..20_000]);
        using var trained = new TemporaryFolder();
        trainer.Train(400).Save(trained.Path);
        foreach (ITokenizer tokenizer in (ITokenizer[])[new ByteTokenizer(), CharTokenizer.From("The end of\n\\ all 🎉é"), Tokenizers.Open(trained.Path)])
        {
            using var folder = new TemporaryFolder();
            using var device = new CpuDevice(1);
            var config = new LlamaConfig { VocabularySize = tokenizer.VocabularySize, ContextLength = 8, HiddenSize = 8, IntermediateSize = 8, Layers = 1, Heads = 1 };
            using LanguageModel model = config.Create(new Initializer(device, 1));
            GgufModelFile.Export(model, tokenizer, [], folder["a.gguf"], GgufType.F16);
            GgufModelFile.Import(folder["a.gguf"], device, folder.Path).Dispose();
            ITokenizer read = Tokenizers.Load(folder.Path)!;
            Assert.Equal(tokenizer.VocabularySize, read.VocabularySize);
            string text = "The end of\nall";
            Assert.Equal(tokenizer.Encode(text), read.Encode(text));
            Assert.Equal(text, read.Decode(read.Encode(text)));
        }
    }

    /// <summary>A template names special tokens, so they come back with it.</summary>
    [Fact]
    public void ChatTemplatesComeBackWithTheirTokens()
    {
        var trainer = new BytePairTrainer();
        trainer.Add(DefaultCorpus.Text[..20_000]);
        using TemporaryFolder trained = new(), folder = new();
        using var device = new CpuDevice(1);
        trainer.Train(300).Save(trained.Path);
        File.WriteAllText(trained["tokenizer_config.json"], """{"eos_token": "<|endoftext|>", "chat_template": "{{ messages[0].content + eos_token }}"}""");
        ITokenizer tokenizer = Tokenizers.Open(trained.Path);
        var config = new LlamaConfig { VocabularySize = tokenizer.VocabularySize, ContextLength = 8, HiddenSize = 8, IntermediateSize = 8, Layers = 1, Heads = 1 };
        using LanguageModel model = config.Create(new Initializer(device, 1));
        GgufModelFile.Export(model, tokenizer, [tokenizer.IdOf("<|endoftext|>")!.Value], folder["a.gguf"], GgufType.F16);
        GgufModelFile.Import(folder["a.gguf"], device, folder.Path).Dispose();
        Assert.Equal("hi<|endoftext|>", ChatTemplate.Load(folder.Path)!.Render([new ChatMessage("user", "hi")], addsGenerationPrompt: false));
        Assert.Equal(tokenizer.Encode("The end<|endoftext|>"), Tokenizers.Load(folder.Path)!.Encode("The end<|endoftext|>"));
    }

    [Fact]
    public void TokenizersThatLlamaCppDoesNotHaveAreRefused()
    {
        using var device = new CpuDevice(1);
        var config = new LlamaConfig { VocabularySize = 40_000, ContextLength = 8, HiddenSize = 8, IntermediateSize = 8, Layers = 1, Heads = 1 };
        using LanguageModel model = config.Create(new Initializer(device, 1));
        string goldens = Goldens.Folder("sentencepiece");
        Refuse("of the type Word", model, Tokenizers.Open(Path.Combine(goldens, "word.model")));
        Refuse("\"<sep>\"", model, Tokenizers.Open(Path.Combine(goldens, "unigram-cf.model")));
        Refuse("byte_fallback", model, Tokenizers.Open(Path.Combine(goldens, "unigram-nfkc.model")));
        Refuse("user-defined piece", model, Tokenizers.Open(Path.Combine(goldens, "newline-symbol.model")));
    }

    private static void Refuse(string message, LanguageModel model, ITokenizer? tokenizer)
    {
        using var folder = new TemporaryFolder();
        Assert.Contains(message, Assert.Throws<UserException>(() => GgufModelFile.Export(model, tokenizer, [], folder["a.gguf"], GgufType.F32)).Message);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }
}
