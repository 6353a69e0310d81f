using System.IO.Compression;
using System.Text;

namespace ILGpuOptim.Data;

/// <summary>
/// The default training text: the King James version (1611, public domain), one verse
/// per line, with empty lines between chapters, from Debian's package <c>bible-kjv</c>.
/// </summary>
public static class DefaultCorpus
{
    /// <summary>The name in messages.</summary>
    public const string Name = "king-james";

    private static readonly Lazy<string> Contents = new(() =>
    {
        using Stream stream = typeof(DefaultCorpus).Assembly.GetManifestResourceStream("king-james.txt.br")
            ?? throw new InvalidOperationException("the library was built without its corpus");
        using var brotli = new BrotliStream(stream, CompressionMode.Decompress);
        using var reader = new StreamReader(brotli, Encoding.UTF8);
        return reader.ReadToEnd();
    });

    /// <summary>The whole text.</summary>
    public static string Text => Contents.Value;
}
