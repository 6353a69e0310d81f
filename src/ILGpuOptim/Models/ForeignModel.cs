using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>Explains a file that was named in place of a model folder.</summary>
internal static class ForeignModel
{
    /// <summary>The first integer of llm.c's models.</summary>
    public const int LlmCMagic = 20240326;

    /// <summary>"ak42", with which newer checkpoints of llama2.c begin.</summary>
    private const int Llama2CMagic = 0x616B3432;

    /// <summary>The kind of the file, and what to do with it.</summary>
    /// <exception cref="UserException">It cannot be read.</exception>
    public static UserException Explain(string path)
    {
        var start = new byte[8];
        using (FileStream file = SourceFile.Open(path))
            file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        int magic = BinaryPrimitives.ReadInt32LittleEndian(start);
        string name = Path.GetFileName(path);
        if (name.EndsWith(".json", StringComparison.OrdinalIgnoreCase) && !start.AsSpan().StartsWith("version "u8))
            return UserException.NamingSettings($"{path}: a configuration without weights; train such a model with {"Model":setting} {path}, or name a folder with {ModelFiles.Config} and {ModelFiles.Weights}");
        return new UserException(magic == LlmCMagic ? $"{path}: a model of llm.c, which is not read; write it in Hugging Face's layout first"
            : magic == Llama2CMagic ? $"{path}: a checkpoint of llama2.c; turn it into a folder with import"
            : start.AsSpan().StartsWith("GGUF"u8) ? $"{path}: a GGUF file; turn it into a folder with import"
            : start.AsSpan().StartsWith("PK\x03\x04"u8) ? $"{path}: a file of PyTorch, which is not read; convert it to safetensors"
            : start.AsSpan().StartsWith("version "u8) ? GitLfs.Message(path)
            : name.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase) ? $"{path}: weights without a configuration; name the folder that holds them and {ModelFiles.Config}"
            : $"{path}: a file; give a run or a folder with {ModelFiles.Config} and {ModelFiles.Weights} (import reads GGUF files and checkpoints of llama2.c)");
    }
}
