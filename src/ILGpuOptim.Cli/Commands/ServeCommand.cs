using System.CommandLine;
using System.Net;
using ILGpuOptim.Chat;
using ILGpuOptim.Cli.Serving;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>serve</c>: answers requests in the form of OpenAI's API.</summary>
internal static class ServeCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var host = new Option<string>("--host") { Description = "address to listen on; 0.0.0.0: all, so that other computers can connect", DefaultValueFactory = _ => "127.0.0.1" };
        Option<int> port = Flag.Of("--port", "port; 0: a free one", 8080, new RangeAttribute(0, 65535));
        var name = new Option<string?>("--name") { Description = "name of the model in requests and answers; default: the name of the folder" };
        Option<string?> template = ChatCommand.Template();
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        var command = new Command("serve", "Serve a model over HTTP in the form of OpenAI's API: /v1/chat/completions, /v1/completions, /v1/models. Ctrl-C ends it.") { source, host, port, name, template, device, threads };
        command.SetAction(result =>
        {
            string path = result.GetRequiredValue(source), address = result.GetRequiredValue(host);
            if (!IPAddress.TryParse(address == "localhost" ? "127.0.0.1" : address, out IPAddress? ip))
                throw new UserException($"--host {address}: it must be an IP address, such as 127.0.0.1 or 0.0.0.0");
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using ChatModel model = ChatModel.Open(path, target, result.GetValue(template));
            CommonOptions.NoteUnused(model.Model, model.Folder);
            using var signals = new StopSignals { Saves = true, Announces = false };
            using ChatServer server = ChatServer.Start(model, result.GetValue(name) ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path))), ip, result.GetValue(port));
            Console.Error.WriteLine($"model      {server.ModelName}: {model.Model.Config.Summary}");
            if (model.Template is null)
                Console.Error.WriteLine("note: the model has no chat template, so only /v1/completions answers; give one with --chat-template");
            Console.Error.WriteLine($"address    {server.Address}v1");
            signals.Token.WaitHandle.WaitOne();
        });
        return command;
    }
}
