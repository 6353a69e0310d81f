using System.IO.Compression;
using System.Reflection;

namespace ILGpuOptim.Data;

/// <summary>The formats of this package: Parquet files, and the vocabularies of tiktoken's encodings cl100k and o200k.</summary>
public static class DataPackage
{
    /// <summary>Adds the formats to <see cref="DataFormats"/>. The library calls it when it first needs one of them.</summary>
    public static void Register()
    {
        DataFormats.Add(new ParquetDocuments());
        DataFormats.AddEncoding("cl100k", () => Ranks("Microsoft.ML.Tokenizers.Data.Cl100kBase", "cl100k_base.tiktoken.deflate"));
        DataFormats.AddEncoding("o200k", () => Ranks("Microsoft.ML.Tokenizers.Data.O200kBase", "o200k_base.tiktoken.deflate"));
    }

    private static Stream Ranks(string assembly, string resource)
    {
        Stream packed = Assembly.Load(assembly).GetManifestResourceStream(resource) ?? throw new InvalidOperationException($"{assembly} has no {resource}");
        return new DeflateStream(packed, CompressionMode.Decompress);
    }
}
