using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>export</c>: writes models in the formats of other programs.</summary>
internal static class ExportCommand
{
    private const string Gguf = "gguf", Onnx = "onnx", Llama2C = "llama2c";

    private static readonly string[] Formats = [Gguf, Onnx, Llama2C];

    private static readonly Dictionary<string, GgufType> Types = Enum.GetValues<GgufType>().ToDictionary(type => type.ToString().ToLowerInvariant());

    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var output = new Option<string>("--out") { Description = "output file", Required = true };
        var format = new Option<string?>("--format") { Description = "gguf (llama.cpp), onnx (ONNX Runtime) or llama2c (llama2.c's legacy format); default: by the file's extension, llama2c for .bin" };
        format.AcceptOnlyFromAmong(Formats);
        var type = new Option<string?>("--type") { Description = "gguf: type of the matrices, f32, f16, bf16, q8_0 or q4_0; default: f16" };
        type.AcceptOnlyFromAmong([.. Types.Keys]);
        Option<WeightChoice> weights = CommonOptions.Weights();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("export", "Write a model as a file of llama.cpp, ONNX or llama2.c.") { source, output, format, type, weights, json };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(output);
            string kind = result.GetValue(format) ?? FormatOf(path);
            if (kind != Gguf && result.GetValue(type) is not null)
                throw new UserException($"--type: only --format {Gguf} has types");
            string data = path + OnnxFile.DataExtension;
            if (Path.Exists(path) || (kind == Onnx && Path.Exists(data)))
                throw new UserException($"{(Path.Exists(path) ? path : data)}: it exists already; choose another --out");
            using ModelSource found = ModelSource.Open(result.GetRequiredValue(source), result.GetValue(weights));
            string folder = found.Folder;
            using var device = new CpuDevice();
            using LanguageModel model = ModelFiles.LoadWide(folder, device);
            CommonOptions.NoteUnused(model, folder);
            IReadOnlyList<string> notes = [];
            switch (kind)
            {
                case Gguf:
                    notes = GgufModelFile.Export(model, Tokenizers.Load(ModelFiles.ConfigFolder(folder)), GenerationConfig.Of(folder).EndTokens, path, Types[result.GetValue(type) ?? "f16"]);
                    foreach (string note in notes)
                        Console.Error.WriteLine($"note: {note}");
                    break;
                case Onnx:
                    OnnxModelFile.Export(model, path);
                    break;
                default:
                    if (model.Config is not LlamaConfig)
                        throw new UserException($"{folder}: llama2.c runs LLaMA models only, and this model is a {model.Config.Family}");
                    Llama2CFile.Export(model, path);
                    break;
            }

            string[] files = [path, .. kind == Onnx && File.Exists(data) ? (string[])[data] : []];
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(new { Format = kind, Files = files.Select(file => new { Path = file, Bytes = new FileInfo(file).Length }), Notes = notes });
                return;
            }

            foreach (string file in files)
                Console.WriteLine($"{file}: {new FileInfo(file).Length:N0} bytes{(file == path ? "" : ", which belong to it")}");
        });
        return command;
    }

    private static string FormatOf(string path) => Path.GetExtension(path).ToLowerInvariant() switch
    {
        ".gguf" => Gguf,
        ".onnx" => Onnx,
        ".bin" => Llama2C,
        var extension => throw new UserException($"{path}: the extension \"{extension}\" names no format; give --format {string.Join(", ", Formats[..^1])} or {Formats[^1]}"),
    };
}
