using ILGpuOptim.Chat;
using ILGpuOptim.Compute;
using ILGpuOptim.Extensions.AI;
using ILGpuOptim.Tests.Cli;
using Microsoft.Extensions.AI;
using ChatMessage = ILGpuOptim.Data.Conversations.ChatMessage;

namespace ILGpuOptim.Tests.Generation;

public sealed class ChatModelTests(TalkingRun run) : IClassFixture<TalkingRun>
{
    private static readonly CompletionOptions Greedy = new() { Sampling = new() { Temperature = 0 } };

    [Fact]
    public void AnswersWhatItLearntAndStops()
    {
        using var device = new CpuDevice(1);
        using ChatModel model = ChatModel.Open(run.Path, device);
        Assert.Equal("ONE", Text(model, new ChatMessage("user", "one")));
        Assert.Equal("TWO", Text(model, new ChatMessage("user", "two")));
        Assert.Equal("eno", Text(model, new ChatMessage("system", "x"), new ChatMessage("user", "one")));
        CompletionPart[] parts = [.. model.Answer([new("user", "one")], Greedy)];
        Assert.Equal(CompletionEnd.Stop, parts[^1].End);
        Assert.All(parts[..^1], part => Assert.Equal(CompletionEnd.None, part.End));
    }

    [Fact]
    public void LaterTurnsGiveTheLogProbabilitiesOfAFreshModel()
    {
        var options = new CompletionOptions { Sampling = new() { Temperature = 0, LogProbabilities = true } };
        ChatMessage[] turns = [new("user", "one"), new("assistant", "ONE"), new("user", "two"), new("assistant", "TWO"), new("user", "one")];
        using var device = new CpuDevice(1);
        using ChatModel kept = ChatModel.Open(run.Path, device);
        for (int count = 1; count <= turns.Length; count += 2)
        {
            using ChatModel fresh = ChatModel.Open(run.Path, device);
            CompletionPart[] expected = [.. fresh.Answer(turns[..count], options)], found = [.. kept.Answer(turns[..count], options)];
            Assert.Equal(expected.Select(part => part.Token.Id), found.Select(part => part.Token.Id));
            Assert.All(expected.Zip(found), pair => Assert.Equal(pair.First.Token.LogProbability, pair.Second.Token.LogProbability, 1e-4));
        }
    }

    [Fact]
    public void LengthsAndStopsEndAnswers()
    {
        using var device = new CpuDevice(1);
        using ChatModel model = ChatModel.Open(run.Path, device);
        CompletionPart[] parts = [.. model.Answer([new("user", "one")], Greedy with { MaxTokens = 2 })];
        Assert.Equal(("ON", CompletionEnd.Length, 2), (string.Concat(parts.Select(part => part.Text)), parts[^1].End, parts.Length));
        parts = [.. model.Answer([new("user", "one")], Greedy with { Stops = ["NE"] })];
        Assert.Equal(("O", CompletionEnd.Stop), (string.Concat(parts.Select(part => part.Text)), parts[^1].End));
        parts = [.. model.Answer([new("user", "one")], Greedy with { Count = 3 })];
        for (int i = 0; i < 3; i++)
            Assert.Equal("ONE", string.Concat(parts.Where(part => part.Sample == i).Select(part => part.Text)));
        Assert.Contains("positions", Assert.Throws<UserException>(() => model.Answer([new("user", new string('o', 300))], Greedy).ToList()).Message, StringComparison.Ordinal);
        Assert.InRange(model.Answer([new("user", new string('o', 150))], Greedy with { Stops = [] }).Count(), 1, 100);
    }

    [Fact]
    public void TheTerminalAnswersEachLineOfItsInput()
    {
        Outcome outcome = Tool.RunWithInput("one\n/clear\ntw\\\no\n\n/system x\none\n/retry\n/nothing\n/exit\none\n", "chat", run.Path, "--temperature", "0", "--threads", "1");
        Assert.Equal((0, "there is no command /nothing; /help lists them"), (outcome.Code, outcome.Error.Trim()));
        string[] lines = outcome.Output.ReplaceLineEndings("\n").TrimEnd().Split('\n');
        Assert.Equal(["ONE", "eno", "eno"], lines[..1].Concat(lines[^2..]));
        Assert.Equal(4, lines.Length);
    }

    [Fact]
    public void AModelWithoutATemplateIsRefused()
    {
        File.Delete(Path.Combine(ILGpuOptim.Training.TrainingRun.ModelFolder(Copy()), "chat_template.jinja"));
        Outcome outcome = Tool.RunWithInput("one\n", "chat", copied!);
        Assert.Equal(1, outcome.Code);
        Assert.Contains("the model has no chat template", outcome.Error, StringComparison.Ordinal);
        Directory.Delete(copied!, recursive: true);
    }

    private static string Text(ChatModel model, params ChatMessage[] messages) => string.Concat(model.Answer(messages, Greedy).Select(part => part.Text));

    private string? copied;

    private string Copy()
    {
        copied = Directory.CreateTempSubdirectory("ilgpuoptim-").FullName;
        string model = ILGpuOptim.Training.TrainingRun.ModelFolder(run.Path);
        foreach (string file in Directory.GetFiles(model))
            File.Copy(file, Path.Combine(copied, Path.GetFileName(file)));
        return copied;
    }

    [Fact]
    public async Task AnswersAsAChatClient()
    {
        CancellationToken stop = TestContext.Current.CancellationToken;
        using IChatClient client = ModelChatClient.Open(run.Path);
        var options = new ChatOptions { Temperature = 0 };
        ChatResponse response = await client.GetResponseAsync("one", options, stop);
        Assert.Equal(("ONE", ChatFinishReason.Stop), (response.Text, response.FinishReason));
        Assert.Equal("<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n".Length, response.Usage!.InputTokenCount);
        Assert.Equal("ONE<|im_end|>".Length, response.Usage.OutputTokenCount);
        List<string> texts = [];
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync("one", new ChatOptions { Temperature = 0, Instructions = "x" }, stop))
            texts.Add(update.Text);
        Assert.Equal("eno", string.Concat(texts));
        Assert.True(texts.Count >= 3);
        Assert.Equal("TWO", (await Task.WhenAll(client.GetResponseAsync("one", options, stop), client.GetResponseAsync("two", options, stop)))[1].Text);
        Assert.Contains("Tools", (await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync("one", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1)] }, stop))).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([new(ChatRole.User, [new DataContent("data:image/png;base64,AA==")])], options, stop));
        Assert.Equal("ilgpuoptim", client.GetService<ChatClientMetadata>()!.ProviderName);
        Assert.NotNull(client.GetService<ChatModel>());
    }
}
