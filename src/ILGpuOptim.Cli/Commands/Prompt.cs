using System.Globalization;
using ILGpuOptim.Data;

namespace ILGpuOptim.Cli.Commands;

/// <summary>A prompt.</summary>
/// <param name="Text">The text; null for ids that cannot be decoded.</param>
/// <param name="Ids">Its token ids.</param>
internal sealed record Prompt(string? Text, int[] Ids)
{
    /// <summary>Reads the prompts of a command line; a line feed if there are none.</summary>
    /// <param name="texts">Texts; - is standard input.</param>
    /// <param name="ids">Lists of token ids.</param>
    /// <param name="tokenizer">Encodes texts; null if the model has none.</param>
    /// <param name="folder">The model's folder, for messages.</param>
    /// <param name="end">The end token of encoder–decoder models; null for causal models.</param>
    public static List<Prompt> Read(string[] texts, string[] ids, ITokenizer? tokenizer, string folder, int? end)
    {
        if (texts.Count(text => text == "-") > 1)
            throw new UserException("--prompt -: standard input can be read only once");
        if (texts.Length + ids.Length == 0 && end is not null)
            throw new UserException($"{folder}: the model is an encoder–decoder and needs an input; give --prompt, with {SentinelTokenizer.TextOf(0)} in place of a missing span");
        if (texts.Length + ids.Length == 0 && tokenizer is not null)
            texts = ["\n"];
        if (texts.Length + ids.Length == 0 || (texts.Length > 0 && tokenizer is null))
            throw new UserException($"{folder}: there is no tokenizer beside the model, so it reads token ids only; give --prompt-ids 1,2,3");
        var prompts = new List<Prompt>();
        foreach (string text in texts)
        {
            string begin = text == "-" ? Console.In.ReadToEnd() : text;
            prompts.Add(new Prompt(begin, [.. tokenizer!.PromptPrefix, .. tokenizer.Encode(begin), .. end is { } last ? [last] : Array.Empty<int>()]));
        }

        foreach (string list in ids)
        {
            int[] numbers = Array.ConvertAll(list.Split(',', StringSplitOptions.TrimEntries), Number);
            prompts.Add(new Prompt(tokenizer?.Decode(numbers), numbers));
        }

        return prompts;
    }

    private static int Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
        ? id : throw new UserException($"--prompt-ids: \"{text}\" is not a token id; write ids as 1,2,3");
}
