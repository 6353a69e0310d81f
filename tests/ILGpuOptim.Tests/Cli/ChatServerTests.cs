using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using ILGpuOptim.Chat;
using ILGpuOptim.Cli.Serving;
using ILGpuOptim.Compute;
using ILGpuOptim.Tests.Generation;

namespace ILGpuOptim.Tests.Cli;

public sealed class ChatServerTests : IClassFixture<TalkingRun>, IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly ChatModel model;
    private readonly ChatServer server;
    private readonly HttpClient client;

    public ChatServerTests(TalkingRun run)
    {
        model = ChatModel.Open(run.Path, device);
        server = ChatServer.Start(model, "talk", IPAddress.Loopback, 0);
        client = new HttpClient { BaseAddress = new Uri(server.Address) };
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AnswersAConversation()
    {
        JsonElement answer = await Post("v1/chat/completions", """{"model": "talk", "messages": [{"role": "user", "content": "one"}], "temperature": 0}""");
        Assert.Equal(("chat.completion", "talk"), (answer.GetProperty("object").GetString(), answer.GetProperty("model").GetString()));
        JsonElement choice = answer.GetProperty("choices")[0];
        Assert.Equal(("assistant", "ONE", "stop"), (choice.GetProperty("message").GetProperty("role").GetString(), choice.GetProperty("message").GetProperty("content").GetString(), choice.GetProperty("finish_reason").GetString()));
        JsonElement usage = answer.GetProperty("usage");
        Assert.Equal((53, 13, 66), (usage.GetProperty("prompt_tokens").GetInt32(), usage.GetProperty("completion_tokens").GetInt32(), usage.GetProperty("total_tokens").GetInt32()));
    }

    [Fact]
    public async Task StreamsEvents()
    {
        string[] events = await Stream("v1/chat/completions", """{"messages": [{"role": "user", "content": [{"type": "text", "text": "two"}]}], "temperature": 0, "stream": true, "stream_options": {"include_usage": true}}""");
        Assert.Equal("[DONE]", events[^1]);
        JsonElement[] chunks = [.. events[..^1].Select(text => JsonDocument.Parse(text).RootElement)];
        Assert.Equal("assistant", chunks[0].GetProperty("choices")[0].GetProperty("delta").GetProperty("role").GetString());
        Assert.Equal("TWO", string.Concat(chunks[1..^1].Select(chunk => chunk.GetProperty("choices")[0].GetProperty("delta").TryGetProperty("content", out JsonElement text) ? text.GetString() : "")));
        Assert.Equal("stop", chunks[^2].GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(0, chunks[^1].GetProperty("choices").GetArrayLength());
        Assert.Equal(13, chunks[^1].GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        Assert.All(chunks, chunk => Assert.Equal(chunks[0].GetProperty("id").GetString(), chunk.GetProperty("id").GetString()));
    }

    [Fact]
    public async Task ContinuesTexts()
    {
        const string Prompt = "<|im_start|>user\\none<|im_end|>\\n<|im_start|>assistant\\n";
        JsonElement answer = await Post("v1/completions", $$"""{"prompt": ["{{Prompt}}", "{{Prompt}}O"], "max_tokens": 3, "temperature": 0, "n": 2, "logprobs": 0}""");
        JsonElement[] choices = [.. answer.GetProperty("choices").EnumerateArray()];
        Assert.Equal(["ONE", "ONE", "NE<", "NE<"], choices.Select(choice => choice.GetProperty("text").GetString()));
        Assert.Equal([0, 1, 2, 3], choices.Select(choice => choice.GetProperty("index").GetInt32()));
        Assert.All(choices, choice => Assert.Equal("length", choice.GetProperty("finish_reason").GetString()));
        Assert.Equal(["O", "N", "E"], choices[0].GetProperty("logprobs").GetProperty("tokens").EnumerateArray().Select(token => token.GetString()));
        Assert.Equal([0, 1, 2], choices[0].GetProperty("logprobs").GetProperty("text_offset").EnumerateArray().Select(token => token.GetInt32()));
        string[] events = await Stream("v1/completions", $$"""{"prompt": "{{Prompt}}", "stop": "E", "temperature": 0, "stream": true}""");
        Assert.Equal("ON", string.Concat(events[..^1].Select(text => JsonDocument.Parse(text).RootElement.GetProperty("choices")[0].GetProperty("text").GetString())));
    }

    [Fact]
    public async Task ASeedRepeatsATextAndChoicesDiffer()
    {
        const string Request = """{"messages": [{"role": "user", "content": "t"}], "temperature": 2, "seed": 7, "n": 3, "max_tokens": 20, "logprobs": true}""";
        JsonElement first = await Post("v1/chat/completions", Request), second = await Post("v1/chat/completions", Request);
        string?[] Texts(JsonElement answer) => [.. answer.GetProperty("choices").EnumerateArray().Select(choice => choice.GetProperty("message").GetProperty("content").GetString())];
        Assert.Equal(Texts(first), Texts(second));
        Assert.Equal(3, Texts(first).Distinct().Count());
        Assert.True(first.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")[0].GetProperty("logprob").GetDouble() < 0);
    }

    [Theory]
    [InlineData("""{"messages": [{"role": "user", "content": "one"}], "tools": [{}]}""", 400, "tools is [{}]: the field is not supported")]
    [InlineData("""{"messages": [{"role": "user", "content": "one"}], "frequency_penalty": 1}""", 400, "frequency_penalty is 1: the field is not supported")]
    [InlineData("""{"messages": [{"role": "user", "content": "one"}], "response_format": {"type": "json_object"}}""", 400, "response_format")]
    [InlineData("""{"messages": [{"role": "user", "content": "one"}], "temprature": 1}""", 400, "temprature is 1: the field is not known")]
    [InlineData("""{"messages": [{"role": "user", "content": "one"}], "temperature": 3}""", 400, "temperature is 3; it must be from 0 to 2")]
    [InlineData("""{"messages": [{"role": "user", "content": "one"}], "stream_options": {}}""", 400, "stream_options is only for requests with stream = true")]
    [InlineData("""{"messages": [{"role": "user", "content": "one", "name": "x"}]}""", 400, "messages[0].name is")]
    [InlineData("""{"messages": [{"role": "user", "content": "§"}]}""", 400, "is not among the")]
    [InlineData("""{"messages": []}""", 400, "messages is empty")]
    [InlineData("{}", 400, "messages is missing")]
    [InlineData("{", 400, "not valid JSON")]
    [InlineData("", 400, "the file is empty")]
    [InlineData("""{"model": "gpt-4", "messages": []}""", 404, "there is no model \"gpt-4\"")]
    public async Task RefusesByName(string request, int status, string message)
    {
        using HttpResponseMessage response = await client.PostAsync("v1/chat/completions", Json(request), Stop);
        Assert.Equal(status, (int)response.StatusCode);
        JsonElement error = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Stop)).RootElement.GetProperty("error");
        Assert.Contains(message, error.GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
    }

    [Fact]
    public async Task ListsTheModelAndRefusesOtherPaths()
    {
        Assert.Equal("talk", JsonDocument.Parse(await client.GetStringAsync("v1/models", Stop)).RootElement.GetProperty("data")[0].GetProperty("id").GetString());
        Assert.Equal("talk", JsonDocument.Parse(await client.GetStringAsync("v1/models/talk", Stop)).RootElement.GetProperty("id").GetString());
        Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync("v1/models/other", Stop)).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync("v1/embeddings", Stop)).StatusCode);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, (await client.GetAsync("v1/chat/completions", Stop)).StatusCode);
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, (await client.PostAsync("v1/chat/completions", new StringContent("{}", Encoding.UTF8, "text/plain"), Stop)).StatusCode);
        using var foreign = new HttpRequestMessage(HttpMethod.Get, "v1/models");
        foreign.Headers.Host = "evil.example";
        Assert.Equal(HttpStatusCode.Forbidden, (await client.SendAsync(foreign, Stop)).StatusCode);
    }

    [Fact]
    public async Task ConcurrentRequestsAreAnsweredInTurnAndAGoneClientHoldsUpNobody()
    {
        using (var gone = new CancellationTokenSource())
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "v1/chat/completions") { Content = Json("""{"messages": [{"role": "user", "content": "o"}], "temperature": 2, "stream": true, "n": 100}""") };
            using HttpResponseMessage response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Stop);
            await gone.CancelAsync();
        }

        string[] questions = ["one", "two", "one", "two"];
        JsonElement[] answers = await Task.WhenAll(questions.Select(question => Post("v1/chat/completions", $$"""{"messages": [{"role": "user", "content": "{{question}}"}], "temperature": 0}""")));
        Assert.Equal(questions.Select(question => question.ToUpperInvariant()), answers.Select(answer => answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()));
    }

    private static StringContent Json(string text) => new(text, new MediaTypeHeaderValue("application/json"));

    private async Task<JsonElement> Post(string path, string request)
    {
        using HttpResponseMessage response = await client.PostAsync(path, Json(request), Stop);
        string text = await response.Content.ReadAsStringAsync(Stop);
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonDocument.Parse(text).RootElement;
    }

    private async Task<string[]> Stream(string path, string request)
    {
        using HttpResponseMessage response = await client.PostAsync(path, Json(request), Stop);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        string text = await response.Content.ReadAsStringAsync(Stop);
        return [.. text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(item => item["data: ".Length..])];
    }

    public void Dispose()
    {
        client.Dispose();
        server.Dispose();
        model.Dispose();
        device.Dispose();
    }
}
