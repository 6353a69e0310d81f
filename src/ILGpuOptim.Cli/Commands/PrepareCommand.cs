using System.CommandLine;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Validation;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>prepare</c>: text, JSON lines and Parquet become token files.</summary>
internal static class PrepareCommand
{
    public static Command Create()
    {
        var data = new Option<string[]>("--data") { Description = "text, .jsonl and .parquet files (also .gz) or folders of them", AllowMultipleArgumentsPerToken = true, Required = true };
        var tokenizer = new Option<string>("--tokenizer") { Description = "byte, o200k, cl100k, or a tokenizer's file or folder", Required = true };
        var output = new Option<string>("--out") { Description = "a folder for train.bin, val.bin, the ends of their documents (.ends) and the tokenizer", Required = true };
        Option<double> validation = Flag.Of("--validation", "the part of the documents (of a text: of its pieces) that validates", 0.1, Preparation.ValidationRange);
        var field = new Option<string>("--field") { Description = "the field of JSON lines, or the column of Parquet files", DefaultValueFactory = _ => "text" };
        Option<int?> end = Flag.Of<int?>("--end", "the id between documents; by default that of <|endoftext|> where the tokenizer has it", new RangeAttribute(0));
        var command = new Command("prepare", "Turn text, JSON lines and Parquet into token files, in little memory.") { data, tokenizer, output, validation, field, end };
        command.SetAction(result =>
        {
            IReadOnlyList<string> files = DocumentSource.Files(result.GetRequiredValue(data));
            var preparation = new Preparation(Tokenizers.Open(result.GetRequiredValue(tokenizer)), result.GetValue(validation), result.GetRequiredValue(field), result.GetValue(end));
            string folder = result.GetRequiredValue(output);
            PreparedTokens tokens = Console.IsOutputRedirected
                ? preparation.Run(files, folder, Lines())
                : AnsiConsole.Progress()
                    .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new DownloadedColumn(), new RemainingTimeColumn())
                    .Start(context => preparation.Run(files, folder, Bar(context)));
            Console.WriteLine($"{tokens.Training:N0} tokens to train on and {tokens.Validation:N0} to validate with, of {tokens.Documents:N0} documents, are in {folder}; train with --data {folder}");
        });
        return command;
    }

    /// <summary>A line for each file, and where there is much to read, one for each tenth.</summary>
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
