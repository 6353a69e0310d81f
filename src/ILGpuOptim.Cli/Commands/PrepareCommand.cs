using System.CommandLine;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Validation;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>prepare</c>: converts text, JSON lines and Parquet to token files.</summary>
internal static class PrepareCommand
{
    public static Command Create()
    {
        var data = new Option<string[]>("--data") { Description = "text, .jsonl and .parquet files (also .gz) or folders of them", AllowMultipleArgumentsPerToken = true, Required = true };
        var tokenizer = new Option<string>("--tokenizer") { Description = "byte, o200k, cl100k, or a tokenizer file or folder", Required = true };
        var output = new Option<string>("--out") { Description = "output folder for train.bin, val.bin, their document ends (.ends) and the tokenizer", Required = true };
        Option<double> validation = Flag.Of("--validation", "fraction of the documents (for text files: of their pieces) used for validation", 0.1, Preparation.ValidationRange);
        var field = new Option<string>("--field") { Description = "text field of JSON lines, or text column of Parquet files", DefaultValueFactory = _ => "text" };
        Option<int?> end = Flag.Of<int?>("--end", "id of the token that ends documents; default: that of <|endoftext|> if the tokenizer has it", new RangeAttribute(0));
        Option<bool> json = CommonOptions.Json();
        var command = new Command("prepare", "Convert text, JSON lines and Parquet to token files, with bounded memory.") { data, tokenizer, output, validation, field, end, json };
        command.SetAction(result =>
        {
            IReadOnlyList<string> files = DocumentSource.Files(result.GetRequiredValue(data));
            var preparation = new Preparation(Tokenizers.Open(result.GetRequiredValue(tokenizer)), result.GetValue(validation), result.GetRequiredValue(field), result.GetValue(end));
            string folder = result.GetRequiredValue(output);
            PreparedTokens tokens = result.GetValue(json) ? preparation.Run(files, folder)
                : Console.IsOutputRedirected ? preparation.Run(files, folder, Lines())
                : AnsiConsole.Progress()
                    .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new DownloadedColumn(), new RemainingTimeColumn())
                    .Start(context => preparation.Run(files, folder, Bar(context)));
            if (result.GetValue(json))
                CommonOptions.PrintJson(new { Folder = folder, tokens.Training, tokens.Validation, tokens.Documents });
            else
                Console.WriteLine($"{tokens.Training:N0} tokens to train on and {tokens.Validation:N0} to validate with, of {tokens.Documents:N0} documents, are in {folder}; train with --data {folder}");
        });
        return command;
    }

    /// <summary>Prints a line per file, and for large data one per tenth.</summary>
    private static Action<PreparationProgress> Lines()
    {
        string? file = null;
        long tenths = 0;
        return now =>
        {
            long reached = now.AllBytes < 10_000_000 ? 0 : 10 * now.Bytes / now.AllBytes;
            if (now.File != file || reached > tenths)
                Console.WriteLine($"{now.Bytes / 1e6,9:N1} of {now.AllBytes / 1e6:N1} MB  {Terminal.Line(now.File)}");
            (file, tenths) = (now.File, reached);
        };
    }

    private static Action<PreparationProgress> Bar(ProgressContext context)
    {
        ProgressTask task = context.AddTask("reading");
        return now =>
        {
            task.MaxValue = Math.Max(now.AllBytes, 1);
            task.Value = now.Bytes;
            task.Description = Markup.Escape(Terminal.Line(Path.GetFileName(now.File)));
        };
    }
}
