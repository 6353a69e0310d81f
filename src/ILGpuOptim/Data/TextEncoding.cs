using System.Text;

namespace ILGpuOptim.Data;

/// <summary>Decodes text files: UTF-8, or UTF-16 and UTF-32 with their byte order marks. Invalid bytes are errors, never replaced.</summary>
internal static class TextEncoding
{
    private static readonly Encoding[] Marked =
    [
        new UTF8Encoding(encoderShouldEmitUTF8Identifier: true, throwOnInvalidBytes: true),

        // UTF-32 precedes UTF-16, since its little-endian mark begins with that of UTF-16.
        new UTF32Encoding(bigEndian: false, byteOrderMark: true, throwOnInvalidCharacters: true),
        new UTF32Encoding(bigEndian: true, byteOrderMark: true, throwOnInvalidCharacters: true),
        new UnicodeEncoding(bigEndian: false, byteOrderMark: true, throwOnInvalidBytes: true),
        new UnicodeEncoding(bigEndian: true, byteOrderMark: true, throwOnInvalidBytes: true),
    ];

    /// <summary>The length of the longest byte order mark in bytes.</summary>
    public const int MaxMarkBytes = 4;

    /// <summary>The encoding according to the byte order mark; UTF-8 without one.</summary>
    public static Encoding Of(ReadOnlySpan<byte> start)
    {
        foreach (Encoding encoding in Marked)
        {
            if (start.StartsWith(encoding.Preamble))
                return encoding;
        }

        return new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);
    }

    /// <summary>The error for NUL characters: the file is binary, or UTF-16 without a byte order mark.</summary>
    public static UserException HasNulls(string path) =>
        new($"{path}: the file contains zero bytes, so it is not text; token files end in .bin, and UTF-16 needs a byte order mark");

    /// <summary>The error for bytes that do not decode.</summary>
    public static UserException Undecodable(string path, string place, Encoding encoding, DecoderFallbackException e) =>
        new($"{path}: {place} is not valid {encoding.WebName.ToUpperInvariant()}; convert the file, for example with iconv", e);
}
