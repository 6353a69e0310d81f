using System.Globalization;
using System.Net;
using System.Net.Sockets;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Training;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace ILGpuOptim.Cli.Watching;

/// <summary>
/// Serves a page with the progress of runs on the loopback address. It reads what runs write to their folders, so that it shows running and
/// finished runs alike, and needs nothing from a network.
/// </summary>
internal sealed class WatchServer : IDisposable
{
    private readonly WebApplication application;
    private volatile IReadOnlyList<string> folders = [], known = [];

    private WatchServer(int port)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(IPAddress.Loopback, port));
        application = builder.Build();
        application.Run(Answer);
    }

    /// <summary>Run folders, or folders that hold runs; runs that appear later are shown too.</summary>
    public IReadOnlyList<string> Folders
    {
        get => folders;
        set => (folders, known) = (value, []);
    }

    /// <summary>The address of the page.</summary>
    public string Address => application.Urls.First() + "/";

    /// <summary>Starts a server.</summary>
    /// <param name="port">The port; 0: a free one.</param>
    /// <exception cref="UserException">The port is taken.</exception>
    public static WatchServer Start(int port)
    {
        var server = new WatchServer(port);
        try
        {
            server.application.StartAsync().GetAwaiter().GetResult();
            return server;
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            server.Dispose();
            throw new UserException($"port {port}: the page cannot be served there: {e.Message.TrimEnd('.')}; choose another port, or 0 for a free one", e);
        }
    }

    private async Task Answer(HttpContext context)
    {
        // A page of another site could resolve its own name to the loopback address.
        if (!IPAddress.TryParse(context.Request.Host.Host, out _) && !context.Request.Host.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase))
            context.Response.StatusCode = StatusCodes.Status403Forbidden;
        else if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method))
        {
            context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            context.Response.Headers.Allow = "GET, HEAD";
        }
        else
            await Answer(context.Request, context.Response).ConfigureAwait(false);
    }

    private async Task Answer(HttpRequest request, HttpResponse response)
    {
        response.Headers.CacheControl = "no-store";
        response.Headers.ContentSecurityPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:";
        try
        {
            switch (request.Path.Value)
            {
                case "/":
                    response.ContentType = "text/html; charset=utf-8";
                    await using (Stream page = typeof(WatchServer).Assembly.GetManifestResourceStream("watch.html")!)
                        await page.CopyToAsync(response.Body).ConfigureAwait(false);
                    break;
                case "/runs":
                    await response.WriteAsJsonAsync(known = WatchedRuns.Find(folders), CommonOptions.JsonLines).ConfigureAwait(false);
                    break;
                case "/settings" when Run(request) is { } run:
                    response.ContentType = "application/json";
                    await response.Body.WriteAsync(await File.ReadAllBytesAsync(Path.Combine(run, TrainingRun.SettingsFile)).ConfigureAwait(false)).ConfigureAwait(false);
                    break;
                case "/metrics" when Run(request) is { } run && long.TryParse(request.Query["from"], NumberStyles.None, CultureInfo.InvariantCulture, out long from):
                    (byte[] lines, long next, bool fromStart) = WatchedRuns.Read(run, from);
                    response.ContentType = "application/jsonl";
                    response.Headers["X-Next"] = next.ToString(CultureInfo.InvariantCulture);
                    response.Headers["X-From-Start"] = fromStart ? "1" : "0";
                    await response.Body.WriteAsync(lines).ConfigureAwait(false);
                    break;
                default:
                    response.StatusCode = StatusCodes.Status404NotFound;
                    break;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The run folder was removed, or the browser has closed the connection.
            if (!response.HasStarted)
                response.StatusCode = StatusCodes.Status404NotFound;
        }
    }

    /// <summary>The run that a request names; only runs that are shown can be read. The folders are searched again only for one that is not known.</summary>
    private string? Run(HttpRequest request)
    {
        string? run = request.Query["run"];
        return known.Contains(run) || (known = WatchedRuns.Find(folders)).Contains(run) ? run : null;
    }

    public void Dispose() => application.DisposeAsync().AsTask().GetAwaiter().GetResult();
}
