using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public class GgufFileTests
{
    private static readonly (string, object)[] Metadata =
        [("a.text", "é"), ("a.number", 7u), ("a.negative", -3), ("a.real", 0.5f), ("a.flag", true), ("a.texts", new[] { "x", "" }), ("a.reals", new[] { 1f, 2f }), ("a.numbers", new[] { 1, -1 })];

    [Fact]
    public void WhatIsWrittenIsRead()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["a.gguf"], Bytes());
        using var file = new GgufFile(folder["a.gguf"]);
        Assert.Equal(new Dictionary<string, object>
        {
            ["a.text"] = "é",
            ["a.number"] = 7L,
            ["a.negative"] = -3L,
            ["a.real"] = 0.5,
            ["a.flag"] = true,
            ["a.texts"] = new[] { "x", "" },
            ["a.reals"] = new[] { 1.0, 2.0 },
            ["a.numbers"] = new[] { 1L, -1L },
        }, file.Metadata);
        Assert.Equal([2L, 3L], file.Tensors["one"].Shape);
        Assert.Equal([1, 2, 3, 4, 5, 6], file.Read(file.Tensors["one"]));
        Assert.Equal(GgufType.Q8_0, file.Tensors["two"].Type);
        Assert.Equal(Enumerable.Repeat(127f, 32), file.Read(file.Tensors["two"]));
    }

    [Fact]
    public void AFileThatWasCutAnywhereIsRefused()
    {
        byte[] bytes = Bytes();
        // The padding after the last tensor may be absent.
        int end = bytes.Length - 30;
        for (int length = 1; length < end; length++)
            Refuse(bytes[..length], null);
        Read(bytes[..end]);
    }

    [Fact]
    public void DamagedHeadersAreRefused()
    {
        Refuse(Changed("GGUF"u8, "GGUG"u8), "no GGUF file");
        Refuse(Put(4, 1), "version 1");
        Refuse(Put(4, BinaryPrimitives.ReverseEndianness(3)), "big-endian");
        Refuse(Put(8, int.MaxValue), "tensors do not fit");
        Refuse(Put(16, int.MaxValue), "metadata values do not fit");
        Refuse(Put(24, -1), "claims");
        Refuse(Changed("a.negative"u8, "a.negativd"u8, "a.real"u8, "a.text"u8), "a.text appears twice");
        Refuse(Changed("two"u8, "one"u8), "one appears twice");
        Refuse(After("one"u8, 0, 5), "5 dimensions");
        Refuse(After("one"u8, 4, 0), "impossible shape");
        Refuse(After("one"u8, 8, -1), "impossible shape");
        Refuse(After("one"u8, 20, 14), "type Q6_K");
        Refuse(After("one"u8, 20, 77), "number 77");
        Refuse(After("one"u8, 24, 32), "not after the one before it");
        Refuse(After("two"u8, 24, 0), "not after the one before it");
        Refuse(After("two"u8, 4, 33), "whole blocks");
        Refuse(After("two"u8, 4, 1 << 20), "cut short");
        Refuse([.. Bytes(), .. new byte[40]], "belong to none");
        Refuse(After("a.flag"u8, 4, 2), "neither true nor false");
        Refuse(After("a.texts"u8, 0, 99), "unknown type 99");
        Refuse(After("a.texts"u8, 4, 9), "array of arrays");
        Refuse(After("a.reals"u8, 8, 1 << 30), "do not fit");
        Refuse(Changed("é"u8, [0xFF, 0xFE]), "not UTF-8");
    }

    private static byte[] Bytes()
    {
        using var folder = new TemporaryFolder();
        using (var writer = new GgufWriter(folder["a.gguf"], Metadata, [new("one", GgufType.F32, [2, 3]), new("two", GgufType.Q8_0, [1, 32])]))
        {
            writer.Write([1, 2, 3, 4, 5, 6]);
            writer.Write(Enumerable.Repeat(127f, 32).ToArray());
            writer.Finish();
        }

        return File.ReadAllBytes(folder["a.gguf"]);
    }

    private static byte[] Put(int position, int value)
    {
        byte[] bytes = Bytes();
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(position), value);
        return bytes;
    }

    private static byte[] After(ReadOnlySpan<byte> name, int position, int value) => Put(Bytes().AsSpan().IndexOf(name) + name.Length + position, value);

    private static byte[] Changed(ReadOnlySpan<byte> old, ReadOnlySpan<byte> next, ReadOnlySpan<byte> other = default, ReadOnlySpan<byte> replacement = default)
    {
        byte[] bytes = Bytes();
        next.CopyTo(bytes.AsSpan(bytes.AsSpan().IndexOf(old)));
        if (!other.IsEmpty)
            replacement.CopyTo(bytes.AsSpan(bytes.AsSpan().IndexOf(other)));
        return bytes;
    }

    private static void Read(byte[] bytes)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["a.gguf"], bytes);
        using var file = new GgufFile(folder["a.gguf"]);
        foreach (GgufEntry tensor in file.Tensors.Values)
            file.Read(tensor);
    }

    private static void Refuse(byte[] bytes, string? what)
    {
        string message = Assert.Throws<UserException>(() => Read(bytes)).Message;
        Assert.DoesNotContain('\n', message);
        if (what is not null)
            Assert.Contains(what, message);
    }
}
