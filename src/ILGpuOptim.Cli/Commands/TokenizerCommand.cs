using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>tokenizer</c>: trains and applies tokenizers.</summary>
internal static class TokenizerCommand
{
    public static Command Create() => new("tokenizer", "Train a tokenizer, or encode and decode text.") { Train(), Encode(), Decode() };

    private static Command Train()
    {
        var data = new Option<string[]>("--data") { Description = "text files or folders; default: the embedded corpus", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [] };
        Option<int> size = Flag.Of("--vocab", "vocabulary size, including the 256 bytes and the end-of-text token", 4096, BytePairTrainer.VocabularyRange);
        var output = new Option<string>("--out") { Description = "output folder for tokenizer.json, vocab.json, merges.txt and tokenizer_config.json", Required = true };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("train", "Train a byte-level BPE tokenizer, saved in Hugging Face's format.") { data, size, output, json };
        command.SetAction(result =>
        {
            string[] paths = result.GetRequiredValue(data);
            string text = paths.Length == 0 ? DefaultCorpus.Text : TextSource.Read(paths);
            var trainer = new BytePairTrainer();
            trainer.Add(text);
            BytePairVocabulary vocabulary = Console.IsOutputRedirected || result.GetValue(json)
                ? trainer.Train(result.GetValue(size))
                : AnsiConsole.Progress().Start(context =>
                {
                    ProgressTask task = context.AddTask("merging", maxValue: result.GetValue(size));
                    return trainer.Train(result.GetValue(size), count => task.Value = count);
                });
            string folder = result.GetRequiredValue(output);
            try
            {
                AtomicFolder.WriteListed(folder, vocabulary.Save);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UserException($"{folder}: the tokenizer cannot be written: {e.Message}; free some space or choose another --out", e);
            }

            int count = Tokenizers.Open(folder).Encode(text).Length;
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { Folder = folder, Vocabulary = vocabulary.Tokens.Count, Characters = text.Length, Tokens = count });
            else
                Console.WriteLine($"{vocabulary.Tokens.Count} tokens in {folder}; the text's {text.Length:N0} characters are {count:N0} tokens, {(double)text.Length / Math.Max(1, count):F2} characters per token");
        });
        return command;
    }

    private static Command Encode()
    {
        var tokenizer = Name();
        var text = new Argument<string>("text") { Description = "text; - reads standard input" };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("encode", "Print the token ids of a text.") { tokenizer, text, json };
        command.SetAction(result =>
        {
            string value = result.GetRequiredValue(text);
            int[] ids = Tokenizers.Open(result.GetRequiredValue(tokenizer)).Encode(value == "-" ? Console.In.ReadToEnd() : value);
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { ids });
            else
                Console.WriteLine(string.Join(',', ids));
        });
        return command;
    }

    private static Command Decode()
    {
        var tokenizer = Name();
        var ids = new Argument<string>("ids") { Description = "token ids, such as 1,2,3" };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("decode", "Print the text of token ids.") { tokenizer, ids, json };
        command.SetAction(result =>
        {
            int[] numbers = Array.ConvertAll(result.GetRequiredValue(ids).Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries), text =>
                int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? id : throw new UserException($"\"{text}\" is not a token id; write ids as 1,2,3"));
            string decoded = Tokenizers.Open(result.GetRequiredValue(tokenizer)).Decode(numbers);
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { text = decoded });
            else
                Terminal.WriteText(decoded + Environment.NewLine);
        });
        return command;
    }

    private static Argument<string> Name() => new("tokenizer") { Description = "byte, o200k, cl100k, or a tokenizer file or folder" };
}
