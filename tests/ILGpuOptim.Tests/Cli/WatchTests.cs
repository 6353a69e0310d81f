using System.Diagnostics;
using System.Net;
using System.Text.Json;
using ILGpuOptim.Cli.Watching;
using ILGpuOptim.Compute;
using ILGpuOptim.Tests.Training;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Cli;

/// <summary>The page that shows runs. A script of the gate opens it in a browser.</summary>
public sealed class WatchTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly WatchServer server = WatchServer.Start(0);
    private readonly HttpClient client;

    public WatchTests() => client = new HttpClient { BaseAddress = new Uri(server.Address) };

    public void Dispose()
    {
        client.Dispose();
        server.Dispose();
        folder.Dispose();
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private string Run(string name, int steps)
    {
        using var device = new CpuDevice(1);
        using TrainingRun run = TrainingRun.Begin(folder[name], Presets.Find("tiny") with { Steps = steps, EvalBatches = 0 }, device);
        run.Train(Stop);
        return run.Folder;
    }

    private static string Query(string run) => "?run=" + Uri.EscapeDataString(run);

    [Fact]
    public async Task RunsBelowAFolderAreListedAndTheirFilesServed()
    {
        string first = Run("comparison/runs/first", 2), second = Run("second", 1);
        server.Folders = [folder.Path];
        Assert.Equal(new[] { first, second }, JsonSerializer.Deserialize<string[]>(await client.GetStringAsync("runs", Stop)));
        Assert.Contains("<title>ILGpuOptim runs</title>", await client.GetStringAsync("", Stop), StringComparison.Ordinal);
        Assert.Equal(2, JsonDocument.Parse(await client.GetStringAsync("settings" + Query(first), Stop)).RootElement.GetProperty("steps").GetInt32());
        Assert.Equal(File.ReadAllText(Path.Combine(first, TrainingRun.MetricsFile)), await client.GetStringAsync($"metrics{Query(first)}&from=0", Stop));
    }

    [Fact]
    public async Task OnlyWholeNewLinesAreSentAndAShorterFileFromItsStart()
    {
        string run = Run("run", 1), path = Path.Combine(run, TrainingRun.MetricsFile);
        server.Folders = [run];
        (string all, long next, _) = await Metrics(run, 0);
        Assert.Equal(new FileInfo(path).Length, next);
        File.AppendAllText(path, "{\"step\":2}\n{\"st");
        Assert.Equal(("{\"step\":2}\n", next + 11, false), await Metrics(run, next));
        Assert.Equal(("", next + 11, false), await Metrics(run, next + 11));
        File.WriteAllText(path, "{\"step\":1}\n");
        Assert.Equal(("{\"step\":1}\n", 11, true), await Metrics(run, next));
        File.Delete(path);
        Assert.Equal(("", 0, true), await Metrics(run, 11));
        Assert.NotEmpty(all);
    }

    private async Task<(string Lines, long Next, bool FromStart)> Metrics(string run, long from)
    {
        using HttpResponseMessage answer = await client.GetAsync($"metrics{Query(run)}&from={from}", Stop);
        return (await answer.Content.ReadAsStringAsync(Stop), long.Parse(answer.Headers.GetValues("X-Next").Single(), null), answer.Headers.GetValues("X-From-Start").Single() == "1");
    }

    [Theory]
    [InlineData("other", HttpStatusCode.NotFound)]
    [InlineData("metrics?run=/etc&from=0", HttpStatusCode.NotFound)]
    [InlineData("settings", HttpStatusCode.NotFound)]
    [InlineData("metrics?from=0", HttpStatusCode.NotFound)]
    public async Task NothingElseIsServed(string path, HttpStatusCode expected)
    {
        using HttpResponseMessage answer = await client.GetAsync(path, Stop);
        Assert.Equal(expected, answer.StatusCode);
    }

    [Fact]
    public async Task OtherHostsAndMethodsAreRefused()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "") { Headers = { Host = "site.example" } };
        using HttpResponseMessage foreign = await client.SendAsync(request, Stop);
        Assert.Equal(HttpStatusCode.Forbidden, foreign.StatusCode);
        using HttpResponseMessage posted = await client.PostAsync("", null, Stop);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, posted.StatusCode);
        using var head = new HttpRequestMessage(HttpMethod.Head, "") { Headers = { Host = "LOCALHOST" } };
        using HttpResponseMessage known = await client.SendAsync(head, Stop);
        Assert.Equal(HttpStatusCode.OK, known.StatusCode);
        Assert.Equal("127.0.0.1", new Uri(server.Address).Host);
    }

    [Fact]
    public void ATakenPortIsOneLine()
    {
        string message = Assert.Throws<UserException>(() => WatchServer.Start(new Uri(server.Address).Port)).Message;
        Assert.Contains("address already in use", message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheCommandRefusesMissingFolders()
    {
        Assert.Contains("no such folder", Tool.Run("watch", folder["missing"]).Error, StringComparison.Ordinal);
        Assert.Contains("add --watch", Tool.Run("train", "--watch-port", "8080", "--out", folder["run"]).Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["run"]));
    }

    /// <summary>A folder without runs is waited for: a run that begins later is listed.</summary>
    [Fact]
    public async Task RunsThatBeginLaterAppear()
    {
        using Process watch = Tool.Start(folder.Path, ["watch", "."]);
        try
        {
            string address = (await watch.StandardError.ReadLineAsync(Stop))!, waiting = (await watch.StandardError.ReadLineAsync(Stop))!;
            Assert.Equal("waiting    . holds no run yet; the page shows runs as they begin", waiting);
            using var other = new HttpClient { BaseAddress = new Uri(address["watch".Length..].Trim()) };
            Assert.Equal("[]", await other.GetStringAsync("runs", Stop));
            string run = Run("later", 1);
            Assert.Equal(new[] { run }, JsonSerializer.Deserialize<string[]>(await other.GetStringAsync("runs", Stop)));
        }
        finally
        {
            watch.Kill();
        }
    }
}
