using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

public class Llama2CTests
{
    private static readonly LlamaConfig Config = new()
    {
        VocabularySize = 13,
        HiddenSize = 24,
        IntermediateSize = 10,
        Layers = 3,
        Heads = 4,
        KeyHeads = 2,
        ContextLength = 11,
        NormEpsilon = 1e-5f,
    };

    [Theory]
    [InlineData(true, 2)]
    [InlineData(false, 2)]
    [InlineData(false, 4)]
    public void AModelThatWentThereAndBackIsTheSameBitForBit(bool tied, int keyHeads)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using var model = new Transformer(Config with { TieWordEmbeddings = tied, KeyHeads = keyHeads }, new Initializer(device, 7));
        Llama2CFile.Export(model, folder["first.bin"]);
        using LanguageModel read = Llama2CFile.Import(folder["first.bin"], device);
        Assert.Equal(model.Parameters.Select(parameter => parameter.Name), read.Parameters.Select(parameter => parameter.Name));
        for (int i = 0; i < model.Parameters.Count; i++)
            Assert.Equal(model.Parameters[i].ToArray(), read.Parameters[i].ToArray());
        Llama2CFile.Export(read, folder["second.bin"]);
        Assert.Equal(File.ReadAllBytes(folder["first.bin"]), File.ReadAllBytes(folder["second.bin"]));
    }

    /// <summary>The file is computed with as llama2.c does: neighbours of a head turn together.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void TheFileMeansTheSameToLlama2C(bool tied)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using var model = new Transformer(Config with { TieWordEmbeddings = tied, InitializerRange = 0.3f }, new Initializer(device, 7));
        Llama2CFile.Export(model, folder["model.bin"]);
        int[] ids = [1, 7, 12, 0, 3, 3, 9];
        float[] expected = Llama2CReference.Logits(File.ReadAllBytes(folder["model.bin"]), ids);
        float[] actual = model.Logits(new Tape(device) { IsTraining = false, IsRecording = false }, ids, 1).ToArray();
        for (int i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i], 2e-5);
    }

    [Fact]
    public void EveryByteOfTheHeaderIsChecked()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using var model = new Transformer(Config, new Initializer(device, 7));
        Llama2CFile.Export(model, folder["model.bin"]);
        byte[] whole = File.ReadAllBytes(folder["model.bin"]);
        Assert.Equal([24, 10, 3, 4, 2, -13, 11], MemoryMarshal.Cast<byte, int>(whole.AsSpan(0, 28)).ToArray());
        foreach (int length in (int[])[0, 5, 27, 28, 100, whole.Length - 1])
            Refused(whole[..length]);
        Refused([.. whole, 0]);
        int[] values = [0, -1, 1, 3, 1000, int.MaxValue, int.MinValue];
        for (int field = 0; field < 7; field++)
        {
            foreach (int value in values)
            {
                byte[] damaged = [.. whole];
                BinaryPrimitives.WriteInt32LittleEndian(damaged.AsSpan(4 * field), value);
                if (!damaged.AsSpan().SequenceEqual(whole))
                    Refused(damaged);
            }
        }

        BinaryPrimitives.WriteInt32LittleEndian(whole, 0x616B3432);
        Assert.Contains("as version 0", Refused(whole), StringComparison.Ordinal);

        string Refused(byte[] bytes)
        {
            File.WriteAllBytes(folder["damaged.bin"], bytes);
            string message = Assert.Throws<UserException>(() => Llama2CFile.Import(folder["damaged.bin"], device)).Message;
            Assert.DoesNotContain('\n', message);
            return message;
        }
    }

    public static TheoryData<string, LlamaConfig> Unfit => new()
    {
        { "rms_norm_eps", Config with { NormEpsilon = 1e-6f } },
        { "rope_theta", Config with { RopeTheta = 500000 } },
        { "rope_theta", Config with { RopeScaling = new RotaryScaling { Kind = "linear", Factor = 2 } } },
        { "head_dim", Config with { HeadSize = 8 } },
        { "attention_bias", Config with { AttentionBias = true } },
        { "hidden_act", Config with { Activation = "relu" } },
    };

    [Theory]
    [MemberData(nameof(Unfit))]
    public void WhatLlama2CCannotRunIsNotExported(string field, LlamaConfig config)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using var model = new Transformer(config, new Initializer(device, 7));
        Assert.Contains(field, Assert.Throws<UserException>(() => Llama2CFile.Export(model, folder["model.bin"])).Message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFiles(folder.Path));
    }

    [Fact]
    public void ATokenizerBecomesSentencePieces()
    {
        byte[] file = Pieces(("<unk>", 0), ("\n<s>\n", 0), ("\n</s>\n", 0), ("<0x0A>", 0), (" a", -1.5f), ("ä", -2));
        byte[] model = Llama2CTokenizer.Convert(file, 6, "tokenizer.bin");
        // Message 1 (piece): 1 = text, 2 = score, 3 = kind.
        Assert.Equal([0x0A, 14, 0x0A, 5, .. "<unk>"u8, 0x15, 0, 0, 0, 0, 0x18, 2], model[..16]);
        string text = System.Text.Encoding.UTF8.GetString(model);
        Assert.Contains("\u2581a", text, StringComparison.Ordinal);
        Assert.Contains("<s>\u0015", text, StringComparison.Ordinal);
        Assert.DoesNotContain("\n<s>\n", text, StringComparison.Ordinal);
        foreach (int length in (int[])[0, 3, 4, 10, file.Length - 1])
            Assert.Throws<UserException>(() => Llama2CTokenizer.Convert(file.AsSpan(0, length), 6, "tokenizer.bin"));
        Assert.Throws<UserException>(() => Llama2CTokenizer.Convert(file, 5, "tokenizer.bin"));
        Assert.Throws<UserException>(() => Llama2CTokenizer.Convert(file, 7, "tokenizer.bin"));
    }

    private static byte[] Pieces(params (string Text, float Score)[] pieces)
    {
        var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write(8);
        foreach ((string text, float score) in pieces)
        {
            byte[] bytes = System.Text.Encoding.UTF8.GetBytes(text);
            writer.Write(score);
            writer.Write(bytes.Length);
            writer.Write(bytes);
        }

        writer.Flush();
        return stream.ToArray();
    }
}
