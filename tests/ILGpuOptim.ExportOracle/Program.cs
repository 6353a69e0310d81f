using ILGpuOptim.Data;
using ILGpuOptim.ExportOracle;

if (args is not [var command, var goldens, ..])
{
    Console.Error.WriteLine("usage: ILGpuOptim.ExportOracle gguf|tokenizers|onnx GOLDENS [PART OF A NAME] [--verbose]\n       ILGpuOptim.ExportOracle text FILE PROMPT TOKENS");
    return 2;
}

DataPackage.Register();
LlamaCpp.Verbose = args.Contains("--verbose");
string? only = args.Skip(2).FirstOrDefault(argument => !argument.StartsWith("--", StringComparison.Ordinal));
if (command == "text")
{
    using var llama = new LlamaCpp(goldens, 256);
    Console.WriteLine((llama.HasEncoder ? "" : args[2]) + llama.Write(args[2], int.Parse(args[3], System.Globalization.CultureInfo.InvariantCulture)));
    return 0;
}

string work = Directory.CreateTempSubdirectory("ilgpuoptim-export-").FullName;
try
{
    return command switch
    {
        "gguf" => GgufChecks.Models(goldens, work, only) ? 0 : 1,
        "onnx" => OnnxChecks.Run(goldens, work, only) ? 0 : 1,
        "tokenizers" => TokenizerChecks.Run(goldens, work, only) ? 0 : 1,
        _ => throw new ArgumentException($"there is no command {command}"),
    };
}
finally
{
    Directory.Delete(work, recursive: true);
}
