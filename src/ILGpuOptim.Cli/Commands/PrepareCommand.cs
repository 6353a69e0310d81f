using System.CommandLine;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>prepare</c>: text, JSON lines and Parquet become token files.</summary>
internal static class PrepareCommand
{
    public static Command Create()
    {
        var data = new Option<string[]>("--data") { Description = "text, .jsonl and .parquet files (also .gz) or folders of them", AllowMultipleArgumentsPerToken = true, Required = true };
        var tokenizer = new Option<string>("--tokenizer") { Description = "byte, o200k, cl100k, or a tokenizer's file or folder", Required = true };
        var output = new Option<string>("--out") { Description = "a folder for train.bin, val.bin and the tokenizer", Required = true };
        var validation = new Option<double>("--validation") { Description = "the part of the documents (of a text: of its pieces) that validates", DefaultValueFactory = _ => 0.1 };
        var field = new Option<string>("--field") { Description = "the field of JSON lines, or the column of Parquet files", DefaultValueFactory = _ => "text" };
        var end = new Option<int?>("--end") { Description = "the id between documents; by default that of <|endoftext|> where the tokenizer has it" };
        var command = new Command("prepare", "Turn text, JSON lines and Parquet into token files, in little memory.") { data, tokenizer, output, validation, field, end };
        command.SetAction(result =>
        {
            IReadOnlyList<string> files = DocumentSource.Files(result.GetRequiredValue(data));
            var preparation = new Preparation(Tokenizers.Open(result.GetRequiredValue(tokenizer)), result.GetValue(validation), result.GetRequiredValue(field), result.GetValue(end));
            string folder = result.GetRequiredValue(output);
            PreparedTokens tokens = Console.IsOutputRedirected
                ? preparation.Run(files, folder, (file, number) => Console.WriteLine($"{number + 1}/{files.Count}  {file}"))
                : AnsiConsole.Progress().Start(context =>
                {
                    ProgressTask task = context.AddTask("reading", maxValue: files.Count);
                    return preparation.Run(files, folder, (file, number) =>
                    {
                        task.Value = number;
                        task.Description = Markup.Escape(Path.GetFileName(file));
                    });
                });
            Console.WriteLine($"{tokens.Training:N0} tokens to train on and {tokens.Validation:N0} to validate with, of {tokens.Documents:N0} documents, are in {folder}; train with --data {folder}");
        });
        return command;
    }
}
