using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace ILGpuOptim.Fuzz;

/// <summary>Damages files: JSON by its structure, text by lines, the contents of archives, and any file by its bytes.</summary>
internal static class Mutator
{
    private static readonly long[] Integers =
        [0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65535, 65536, 1 << 20, 1 << 24, int.MaxValue, int.MinValue, uint.MaxValue, 1L << 40, long.MaxValue, long.MinValue];

    /// <summary>Returns the damaged contents of a file.</summary>
    public static byte[] Mutate(string name, byte[] bytes, Random random)
    {
        if (name.EndsWith(".gz", StringComparison.Ordinal) && random.Next(4) > 0)
            return Packed(Mutate(name[..^3], Unpacked(bytes), random));
        bool isJson = name.EndsWith(".json", StringComparison.Ordinal) || name.EndsWith(".jsonl", StringComparison.Ordinal);
        for (int i = random.Next(1, 4); i > 0; i--)
        {
            bytes = name.EndsWith(".safetensors", StringComparison.Ordinal) && random.Next(3) > 0 ? SafetensorsHeader(bytes, random)
                : isJson && random.Next(8) > 0 && JsonMutator.Mutate(bytes, random) is { } json ? json
                : name.EndsWith(".txt", StringComparison.Ordinal) && random.Next(2) > 0 ? Lines(bytes, random)
                : Bytes(bytes, random);
        }

        return bytes;
    }

    /// <summary>Damages the JSON header of a safetensors file; the stated length is usually corrected.</summary>
    private static byte[] SafetensorsHeader(byte[] bytes, Random random)
    {
        if (bytes.Length < 8 || BinaryPrimitives.ReadInt64LittleEndian(bytes) is var length && (length < 2 || length > bytes.Length - 8))
            return Bytes(bytes, random);
        byte[] header = bytes[8..(8 + (int)length)];
        header = random.Next(3) > 0 && JsonMutator.Mutate(header, random) is { } json ? json : Bytes(header, random);
        byte[] result = [.. new byte[8], .. header, .. bytes[(8 + (int)length)..]];
        BinaryPrimitives.WriteInt64LittleEndian(result, random.Next(10) > 0 ? header.Length : Integers[random.Next(Integers.Length)]);
        return result;
    }

    private static byte[] Lines(byte[] bytes, Random random)
    {
        List<string> lines = [.. Encoding.Latin1.GetString(bytes).Split('\n')];
        int at = random.Next(lines.Count);
        switch (random.Next(6))
        {
            case 0:
                lines.RemoveAt(at);
                break;
            case 1:
                lines.Insert(at, lines[random.Next(lines.Count)]);
                break;
            case 2:
                lines[at] = "";
                break;
            case 3:
                lines[at] += lines[random.Next(lines.Count)];
                break;
            case 4:
                lines[at] = JsonMutator.Texts[random.Next(JsonMutator.Texts.Length)];
                break;
            default:
                lines[at] = Encoding.Latin1.GetString(Bytes(Encoding.Latin1.GetBytes(lines[at]), random));
                break;
        }

        return Encoding.Latin1.GetBytes(string.Join('\n', lines));
    }

    /// <summary>Changes, removes, repeats or inserts bytes, most often near the beginning, where headers are.</summary>
    private static byte[] Bytes(byte[] bytes, Random random)
    {
        if (bytes.Length == 0)
            return [(byte)random.Next(256)];
        int at = random.Next(random.Next(2) == 0 ? bytes.Length : Math.Min(bytes.Length, 64)), count = Math.Min(1 << random.Next(10), bytes.Length - at);
        byte[] result = [.. bytes];
        switch (random.Next(9))
        {
            case 0:
                result[at] ^= (byte)(1 << random.Next(8));
                return result;
            case 1:
                result[at] = (byte)random.Next(256);
                return result;
            case 2:
                random.NextBytes(result.AsSpan(at, Math.Min(count, 16)));
                return result;
            case 3:
                return result[..at];
            case 4:
                return [.. result[..at], .. result[(at + count)..]];
            case 5:
                return [.. result[..(at + count)], .. result[at..]];
            case 6:
                return [.. result[..at], .. Encoding.UTF8.GetBytes(JsonMutator.Texts[random.Next(JsonMutator.Texts.Length)]), .. result[at..]];
            default:
                byte[] number = new byte[8];
                BinaryPrimitives.WriteInt64LittleEndian(number, Integers[random.Next(Integers.Length)]);
                number.AsSpan(0, Math.Min(1 << random.Next(4), result.Length - at)).CopyTo(result.AsSpan(at));
                return result;
        }
    }

    private static byte[] Packed(byte[] bytes)
    {
        using var target = new MemoryStream();
        using (var gzip = new GZipStream(target, CompressionLevel.Fastest))
            gzip.Write(bytes);
        return target.ToArray();
    }

    private static byte[] Unpacked(byte[] bytes)
    {
        using var gzip = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress);
        using var target = new MemoryStream();
        gzip.CopyTo(target);
        return target.ToArray();
    }
}
