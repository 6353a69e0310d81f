using System.CommandLine;
using ILGpuOptim.Cli.Watching;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>watch</c>: serves a page that shows runs while they train, and afterwards; and the flags <c>--watch</c> and <c>--watch-port</c> of other commands.</summary>
internal sealed class WatchCommand
{
    private readonly Option<bool> watch = new("--watch") { Description = "show the progress in a browser: serves a page on the loopback address until the command ends" };
    private readonly Option<int> port = Port("--watch-port");

    private static Option<int> Port(string name) => Flag.Of(name, "port of the page on the loopback address; 0: a free one", 0, new RangeAttribute(0, 65535));

    /// <summary>The flags of a command that trains.</summary>
    public IEnumerable<Option> Flags => [watch, port];

    public static Command Create()
    {
        var runs = new Argument<string[]>("runs") { Description = "run folders, or folders that hold runs", Arity = ArgumentArity.OneOrMore };
        Option<int> port = Port("--port");
        var command = new Command("watch", "Show runs in a browser while they train, and afterwards: losses, rates, speed, memory and samples, side by side. Ctrl-C ends it.") { runs, port };
        command.SetAction(result =>
        {
            string[] folders = result.GetRequiredValue(runs);
            foreach (string folder in folders)
            {
                if (!Directory.Exists(folder))
                    throw new UserException($"{folder}: {(File.Exists(folder) ? "not a folder" : "no such folder")}; give the folder of a run, or one that holds runs");
            }

            using var signals = new StopSignals { Saves = true, Announces = false };
            using WatchServer server = Start(result.GetValue(port));
            server.Folders = folders;
            foreach (string folder in folders.Where(folder => WatchedRuns.Find([folder]).Count == 0))
                Console.Error.WriteLine($"waiting    {folder} holds no run yet; the page shows runs as they begin");
            signals.Token.WaitHandle.WaitOne();
        });
        return command;
    }

    /// <summary>Serves the page if <c>--watch</c> is given; it shows <see cref="WatchServer.Folders"/>.</summary>
    /// <exception cref="UserException">The port is taken, or given without <c>--watch</c>.</exception>
    public WatchServer? Start(ParseResult result)
    {
        if (result.GetValue(watch))
            return Start(result.GetValue(port));
        return result.GetResult(port) is { Implicit: false } ? throw new UserException("--watch-port: no page is served; add --watch") : null;
    }

    private static WatchServer Start(int port)
    {
        var server = WatchServer.Start(port);

        // Standard output may be JSON.
        Console.Error.WriteLine($"watch      {server.Address}");
        return server;
    }
}
