using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads decoders of <c>tokenizer.json</c>.</summary>
internal static class Decoders
{
    /// <summary>Reads a decoder and the decoders nested in it.</summary>
    /// <exception cref="UserException">The type is unknown, or the decoder is damaged.</exception>
    public static ITokenDecoder Read(JsonFields decoder)
    {
        string type = decoder.RequiredText("type");
        switch (type)
        {
            case "Replace":
                INormalizer? replace = Normalizers.Read(decoder);
                return new EachTokenDecoder(token => replace?.Normalize(token) ?? token);
            case "ByteLevel":
                decoder.Ignore("add_prefix_space", "trim_offsets", "use_regex");
                break;
        }

        ITokenDecoder result = type switch
        {
            "Sequence" => new SequenceDecoder([.. (decoder.Objects("decoders") ?? throw decoder.Error("decoders", "is missing")).Select(Read)]),
            "ByteLevel" => new ByteLevelDecoder(),
            "ByteFallback" => new ByteFallbackDecoder(),
            "Fuse" => new FuseDecoder(),
            "WordPiece" => new WordPieceDecoder(decoder.Text("prefix") ?? "##", decoder.Flag("cleanup") ?? true),
            "Metaspace" => MetaspaceOf(decoder),
            "BPEDecoder" => new WordSuffixDecoder(decoder.Text("suffix") ?? "</w>"),
            "CTC" => new CtcDecoder(decoder.Text("pad_token") ?? "<pad>", decoder.Text("word_delimiter_token") ?? "|", decoder.Flag("cleanup") ?? true),
            "Strip" => Strip(decoder),
            _ => throw decoder.Error("type", $"is \"{type}\"; decoders are Sequence, ByteLevel, ByteFallback, Fuse, WordPiece, Metaspace, BPEDecoder, CTC, Strip and Replace"),
        };
        decoder.Finish();
        return result;
    }

    private static MetaspaceDecoder MetaspaceOf(JsonFields decoder)
    {
        (int replacement, PrependScheme scheme, _) = Metaspace.Settings(decoder);
        return new MetaspaceDecoder(new Rune(replacement), keepsFirst: scheme == PrependScheme.Never);
    }

    private static EachTokenDecoder Strip(JsonFields decoder)
    {
        string text = new Rune(PreTokenizers.Character(decoder, "content")).ToString();
        int start = decoder.RequiredInt("start"), stop = decoder.RequiredInt("stop");
        if (start < 0 || stop < 0)
            throw decoder.Error(start < 0 ? "start" : "stop", "is negative; it must be a number of characters");
        return new EachTokenDecoder(token =>
        {
            int begin = 0, end = token.Length;
            for (int i = 0; i < start && string.CompareOrdinal(token, begin, text, 0, text.Length) == 0; i++)
                begin += text.Length;
            for (int i = 0; i < stop && end - text.Length >= begin && string.CompareOrdinal(token, end - text.Length, text, 0, text.Length) == 0; i++)
                end -= text.Length;
            return token[begin..end];
        });
    }
}
