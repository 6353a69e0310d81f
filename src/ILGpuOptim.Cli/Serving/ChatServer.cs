using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using ILGpuOptim.Chat;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace ILGpuOptim.Cli.Serving;

/// <summary>Serves a model in the form of OpenAI's API. Requests are answered one after another; one whose client has gone ends.</summary>
internal sealed class ChatServer : IDisposable
{
    /// <summary>The most bytes of a request.</summary>
    private const int MaxBody = 16 << 20;

    private readonly WebApplication application;
    private readonly ChatModel model;
    private readonly SemaphoreSlim turn = new(1, 1);
    private readonly CancellationTokenSource stopping = new();
    private readonly bool isLoopback;
    private readonly long started = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    private ChatServer(ChatModel model, string name, IPAddress address, int port)
    {
        (this.model, ModelName, isLoopback) = (model, name, IPAddress.IsLoopback(address));
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options =>
        {
            options.Listen(address, port);
            options.Limits.MaxRequestBodySize = MaxBody;
        });
        application = builder.Build();
        application.Run(Answer);
    }

    /// <summary>The model's name in requests.</summary>
    public string ModelName { get; }

    /// <summary>The address, which ends with a slash.</summary>
    public string Address => application.Urls.First() + "/";

    /// <summary>Starts a server.</summary>
    /// <param name="model">The model, which must outlive the server.</param>
    /// <param name="name">Its name in requests.</param>
    /// <param name="address">The address to listen on.</param>
    /// <param name="port">The port; 0: a free one.</param>
    /// <exception cref="UserException">The address or the port cannot be used.</exception>
    public static ChatServer Start(ChatModel model, string name, IPAddress address, int port)
    {
        var server = new ChatServer(model, name, address, port);
        try
        {
            server.application.StartAsync().GetAwaiter().GetResult();
            return server;
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            server.Dispose();
            throw new UserException($"{address}, port {port}: nothing can be served there: {e.Message.TrimEnd('.')}; choose another --port, or 0 for a free one", e);
        }
    }

    private async Task Answer(HttpContext context)
    {
        try
        {
            await Route(context).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            context.Abort();
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            ApiException error = e switch
            {
                ApiException known => known,
                UserException => new ApiException(StatusCodes.Status400BadRequest, e.Message),
                BadHttpRequestException bad => new ApiException(bad.StatusCode, bad.Message),
                _ => new ApiException(StatusCodes.Status500InternalServerError, e.Message),
            };
            context.Response.StatusCode = error.Status;
            await context.Response.WriteAsJsonAsync(error.Body).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // The head of the answer was sent, so the error becomes its last event.
            await Send(context, new ApiException(e is UserException ? StatusCodes.Status400BadRequest : StatusCodes.Status500InternalServerError, e.Message).Body).ConfigureAwait(false);
        }
    }

    private async Task Route(HttpContext context)
    {
        HttpRequest request = context.Request;

        // A page of another site could resolve its own name to the loopback address.
        if (isLoopback && !IPAddress.TryParse(request.Host.Host.Trim('[', ']'), out _) && !request.Host.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase))
            throw new ApiException(StatusCodes.Status403Forbidden, $"the host \"{request.Host.Host}\" is not this computer; use 127.0.0.1 or localhost");
        string path = request.Path.Value ?? "";
        bool isPost = path is "/v1/chat/completions" or "/v1/completions", isModel = path.StartsWith("/v1/models/", StringComparison.Ordinal);
        if (!isPost && !isModel && path is not ("/v1/models" or "/health"))
            throw new ApiException(StatusCodes.Status404NotFound, $"there is no {path}; there are /v1/chat/completions, /v1/completions, /v1/models and /health", "unknown_url");
        if (isPost != HttpMethods.IsPost(request.Method) || (!isPost && !HttpMethods.IsGet(request.Method) && !HttpMethods.IsHead(request.Method)))
        {
            context.Response.Headers.Allow = isPost ? "POST" : "GET, HEAD";
            throw new ApiException(StatusCodes.Status405MethodNotAllowed, $"{path} is for {(isPost ? "POST" : "GET")}, not {request.Method}", "method_not_allowed");
        }

        var info = new { id = ModelName, @object = "model", created = started, owned_by = "ilgpuoptim" };
        if (isPost)
            await Complete(context, isChat: path == "/v1/chat/completions").ConfigureAwait(false);
        else if (path == "/health")
            await context.Response.WriteAsJsonAsync(new { status = "ok" }).ConfigureAwait(false);
        else if (path == "/v1/models")
            await context.Response.WriteAsJsonAsync(new { @object = "list", data = new[] { info } }).ConfigureAwait(false);
        else if (Uri.UnescapeDataString(path["/v1/models/".Length..]) == ModelName)
            await context.Response.WriteAsJsonAsync(info).ConfigureAwait(false);
        else
            throw new ApiException(StatusCodes.Status404NotFound, $"there is no model \"{path["/v1/models/".Length..]}\"; this server has \"{ModelName}\"", "model_not_found", "model");
    }

    private async Task Complete(HttpContext context, bool isChat)
    {
        // Pages of other sites can send anything but JSON without asking.
        if (!context.Request.HasJsonContentType())
            throw new ApiException(StatusCodes.Status415UnsupportedMediaType, $"the content type is \"{context.Request.ContentType}\"; send JSON with the header Content-Type: application/json");
        var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted).ConfigureAwait(false);
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping.Token);
        await turn.WaitAsync(ends.Token).ConfigureAwait(false);
        try
        {
            CompletionRequest request = CompletionRequest.Read(body.ToArray(), isChat, model, ModelName);
            await Write(context, request, ends.Token).ConfigureAwait(false);
        }
        finally
        {
            turn.Release();
        }
    }

    private async Task Write(HttpContext context, CompletionRequest request, CancellationToken stop)
    {
        var answer = new CompletionAnswer(request, model.Tokenizer, ModelName);
        for (int i = 0; i < request.Prompts.Count; i++)
        {
            foreach (CompletionPart part in request.IsChat ? model.Answer(request.Messages, request.Options) : model.Continue(request.Prompts[i], request.Options))
            {
                stop.ThrowIfCancellationRequested();
                if (request.Streams && !context.Response.HasStarted)
                    await Begin(context, answer).ConfigureAwait(false);
                if (answer.Add(i, part) is { } chunk && request.Streams)
                    await Send(context, chunk).ConfigureAwait(false);
            }
        }

        if (!request.Streams)
        {
            await context.Response.WriteAsJsonAsync(answer.Whole(), stop).ConfigureAwait(false);
            return;
        }

        if (request.SendsUsage)
            await Send(context, answer.End()).ConfigureAwait(false);
        await context.Response.WriteAsync("data: [DONE]\n\n", stop).ConfigureAwait(false);
    }

    /// <summary>Begins a stream of events. Errors before the first token are answered with their status.</summary>
    private static async Task Begin(HttpContext context, CompletionAnswer answer)
    {
        context.Response.ContentType = "text/event-stream; charset=utf-8";
        context.Response.Headers.CacheControl = "no-cache";
        foreach (object chunk in answer.Begin())
            await Send(context, chunk).ConfigureAwait(false);
    }

    private static async Task Send(HttpContext context, object chunk)
    {
        await context.Response.WriteAsync($"data: {JsonSerializer.Serialize(chunk)}\n\n", context.RequestAborted).ConfigureAwait(false);
        await context.Response.Body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>Ends the requests that are being answered, and the server.</summary>
    public void Dispose()
    {
        stopping.Cancel();
        application.DisposeAsync().AsTask().GetAwaiter().GetResult();
        turn.Dispose();
        stopping.Dispose();
    }
}
