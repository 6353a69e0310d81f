using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Writes a model with the tokenizer and chat template of the model that it was made of.</summary>
internal static class ModelFolder
{
    /// <summary>Refuses a folder that exists.</summary>
    public static void RequireNew(string folder)
    {
        if (Path.Exists(folder))
            throw new UserException($"{folder}: it exists already; name a new folder");
    }

    /// <summary>Writes a new folder whole or not at all.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="model">The model.</param>
    /// <param name="source">The folder whose tokenizer and chat template go with it.</param>
    /// <exception cref="UserException">The folder cannot be written.</exception>
    public static void Write(string folder, LanguageModel model, string source)
    {
        ITokenizer? tokenizer = Tokenizers.Load(source);
        try
        {
            AtomicFolder.Write(Path.GetFullPath(folder), partial =>
            {
                ModelFiles.Save(partial, model);
                tokenizer?.Save(partial);
                ChatTemplate.Copy(source, partial);
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{folder}: the model cannot be written: {e.Message}", e);
        }
    }
}
