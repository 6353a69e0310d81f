using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text;
using ILGpuOptim.Chat;
using ILGpuOptim.Compute;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Validation;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>chat</c>: converses with a model in the terminal. Each line of standard input is a message.</summary>
internal sealed class ChatCommand
{
    private const string Help = """
        /clear           begin a new conversation
        /system TEXT     begin a new conversation with this system message; without TEXT: without one
        /retry           answer the last message again, with another seed
        /exit            end (so does the end of the input)
        A line that ends with \ goes on in the next line. Ctrl-C ends an answer.
        """;

    private readonly ChatModel model;
    private readonly List<ChatMessage> messages = [];
    private readonly bool isInteractive = !Console.IsInputRedirected && !Console.IsOutputRedirected;
    private CompletionOptions options;
    private string? system;
    private volatile bool isAnswering, isStopped;

    private ChatCommand(ChatModel model, CompletionOptions options, string? system) => (this.model, this.options, this.system) = (model, options, system);

    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var system = new Option<string?>("--system") { Description = "system message: how the model shall answer" };
        Option<string?> template = Template();
        Option<int?> tokens = Flag.Of<int?>("--tokens", "maximum number of tokens of an answer; default: as many as the model's positions hold", new RangeAttribute(1, 1 << 30));
        var stops = new Option<string[]>("--stop") { Description = "end an answer before this string; may be repeated" };
        var sampling = new SamplingFlags();
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        var command = new Command("chat", "Converse with a model that was trained on conversations. Each line of the input is a message; /help lists commands.") { source, system, template, tokens, stops, device, threads };
        foreach (Option option in sampling.All)
            command.Options.Add(option);
        command.SetAction(result =>
        {
            var options = new CompletionOptions { Sampling = sampling.Read(result), MaxTokens = result.GetValue(tokens), Stops = result.GetValue(stops) ?? [] };
            options.Sampling.Check();
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using ChatModel model = Open(result.GetRequiredValue(source), target, result.GetValue(template));
            new ChatCommand(model, options, result.GetValue(system)).Run();
        });
        return command;
    }

    /// <summary>The flag that replaces a model's template.</summary>
    public static Option<string?> Template() => new("--chat-template") { Description = "template of conversations: chatml, or a file; default: the model's own" };

    /// <summary>Loads a model that has a template.</summary>
    /// <exception cref="UserException">It has none.</exception>
    public static ChatModel Open(string source, Device device, string? template)
    {
        ChatModel model = ChatModel.Open(source, device, template);
        CommonOptions.NoteUnused(model.Model, model.Folder);
        if (model.Template is not null)
            return model;
        string folder = model.Folder;
        model.Dispose();
        throw new UserException($"{folder}: the model has no chat template, so it was hardly trained on conversations; give one with --chat-template, or continue texts with sample");
    }

    private void Run()
    {
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = isStopped = isAnswering);
        if (isInteractive)
            AnsiConsole.MarkupLine($"[grey]{model.Model.Config.Summary.EscapeMarkup()}. /help lists commands.[/]");
        Begin(system);
        while (Read() is { } line)
        {
            if (line.StartsWith('/'))
            {
                if (!Obey(line))
                    return;
            }
            else if (line.Length > 0)
            {
                messages.Add(new ChatMessage("user", line));
                Answer();
            }
        }
    }

    /// <summary>The next message or command; null at the end of the input.</summary>
    private string? Read()
    {
        string text = "";
        while (true)
        {
            if (isInteractive)
                AnsiConsole.Markup(text.Length == 0 ? "[bold]> [/]" : "[bold]. [/]");
            if (Console.In.ReadLine() is not { } line)
                return text.Length == 0 ? null : text;
            if (!line.EndsWith('\\'))
                return text + line;
            text += line[..^1] + "\n";
        }
    }

    private void Begin(string? with)
    {
        system = with;
        messages.Clear();
        if (!string.IsNullOrEmpty(system))
            messages.Add(new ChatMessage("system", system));
    }

    /// <summary>Runs a command; returns false for the end.</summary>
    private bool Obey(string line)
    {
        string name = line.Split(' ')[0], text = line[name.Length..].Trim();
        switch (name)
        {
            case "/exit" or "/quit" or "/bye":
                return false;
            case "/clear":
                Begin(system);
                break;
            case "/system":
                Begin(text);
                break;
            case "/retry" when messages.Count > 0 && messages[^1].Role == ChatMessage.Assistant:
                messages.RemoveAt(messages.Count - 1);
                options = options with { Sampling = options.Sampling with { Seed = options.Sampling.Seed + 1 } };
                Answer();
                break;
            case "/retry":
                Console.Error.WriteLine("there is no answer yet");
                break;
            case "/help":
                Console.Error.WriteLine(Help);
                break;
            default:
                Console.Error.WriteLine($"there is no command {name}; /help lists them");
                break;
        }

        return true;
    }

    private void Answer()
    {
        var answer = new StringBuilder();
        (isStopped, isAnswering) = (false, true);
        try
        {
            foreach (CompletionPart part in model.Answer(messages, options))
            {
                answer.Append(part.Text);
                Terminal.WriteText(part.Text);
                if (isStopped)
                    break;
            }
        }
        catch (UserException e) when (isInteractive)
        {
            // The message was not answered; the conversation goes on without it.
            Console.Error.WriteLine(e.Message);
            messages.RemoveAt(messages.Count - 1);
            return;
        }
        finally
        {
            isAnswering = false;
        }

        Terminal.WriteText(Environment.NewLine);
        messages.Add(new ChatMessage(ChatMessage.Assistant, answer.ToString()));
    }
}
