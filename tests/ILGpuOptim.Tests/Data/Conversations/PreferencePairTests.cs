using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;

namespace ILGpuOptim.Tests.Data.Conversations;

public sealed class PreferencePairTests
{
    private const string User = """{"role": "user", "content": "q"}""", Good = """{"role": "assistant", "content": "good"}""", Bad = """{"role": "assistant", "content": "bad"}""";

    public static TheoryData<string, string> Damaged => new()
    {
        { """{"prompt": "q", "chosen": "a"}""", "the record of a pair has no rejected; it needs chosen and rejected, and has prompt, chosen" },
        { """{"messages": []}""", "the record of a pair has no chosen" },
        { """{"chosen": "a", "rejected": "b"}""", "chosen is a text, and the record has no prompt" },
        { """{"question": "q", "chosen": "a", "rejected": "b"}""", "chosen is a text, and the record has no prompt" },
        { """{"system": "s", "prompt": "q", "chosen": "a", "rejected": "b"}""", "system is \"s\": the field is not supported" },
        { """{"prompt": "q", "chosen": 1, "rejected": "b"}""", "chosen is 1; it must be a string" },
        { """{"prompt": "q", "chosen": [], "rejected": "b"}""", "chosen has no message" },
        { $$"""{"chosen": [{{Good}}], "rejected": [{{Bad}}]}""", "begin with different messages" },
        { $$"""{"prompt": "p", "chosen": [{{User}}, {{Good}}], "rejected": "b"}""", "chosen begins with a message of the role user, but not with the messages of prompt" },
        { $$"""{"chosen": [{{User}}, {{Good}}], "rejected": [{{User}}, {{User}}]}""", "rejected has no message of the assistant after the prompt" },
        { $$"""{"prompt": "q", "chosen": [{"role": "assistant", "content": "a", "weight": 0}], "rejected": "b"}""", "chosen has no message of the assistant" },
        { $$"""{"chosen": [{"from": "human", "value": "q"}], "rejected": [{{User}}, {{Bad}}]}""", "role is missing" },
    };

    [Theory]
    [InlineData("""{"prompt": "q", "chosen": "good", "rejected": "bad"}""")]
    [InlineData($$"""{"prompt": [{{User}}], "chosen": [{{Good}}], "rejected": [{{Bad}}]}""")]
    [InlineData($$"""{"prompt": "q", "chosen": [{{Good}}], "rejected": "bad"}""")]
    [InlineData($$"""{"prompt": "q", "chosen": [{{User}}, {{Good}}], "rejected": [{{User}}, {{Bad}}]}""")]
    [InlineData($$"""{"chosen": [{{User}}, {{Good}}], "rejected": [{{User}}, {{Bad}}], "tools": []}""")]
    public void EveryFormGivesTheSamePair(string record)
    {
        PreferencePair pair = Read(record);
        Assert.Equal([new ChatMessage("user", "q"), new ChatMessage("assistant", "good")], pair.Chosen.Messages);
        Assert.Equal([new ChatMessage("user", "q"), new ChatMessage("assistant", "bad")], pair.Rejected.Messages);
        Assert.Equal([false, true], pair.Chosen.IsTrained);
        Assert.Equal([false, true], pair.Rejected.IsTrained);
    }

    [Fact]
    public void AnswersOfThePromptAreNotTrainedOn()
    {
        PreferencePair pair = Read($$"""{"chosen": [{{User}}, {{Bad}}, {{User}}, {{Good}}, {{User}}, {{Good}}], "rejected": [{{User}}, {{Bad}}, {{User}}, {{Bad}}]}""");
        Assert.Equal([false, false, false, true, false, true], pair.Chosen.IsTrained);
        Assert.Equal([false, false, false, true], pair.Rejected.IsTrained);
    }

    [Fact]
    public void EqualConversationsDifferInNoAnswer()
    {
        PreferencePair pair = Read($$"""{"chosen": [{{User}}, {{Good}}], "rejected": [{{User}}, {{Good}}]}""");
        Assert.Equal([false, true], pair.Chosen.IsTrained);
        Assert.Equal([false, true], pair.Rejected.IsTrained);
    }

    [Theory]
    [MemberData(nameof(Damaged))]
    public void OtherRecordsAreRefusedWithFileAndLine(string line, string message)
    {
        using var folder = new TemporaryFolder();
        string path = folder["data.jsonl"];
        File.WriteAllText(path, """{"prompt": "q", "chosen": "good", "rejected": "bad"}""" + "\n\n" + line + "\n");
        UserException error = Assert.Throws<UserException>(() => Open(path, 512));
        Assert.StartsWith(path + ":3: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LongPairsLoseTheirEndsAndThoseWithoutAnAnswerAreNotUsed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder["data.jsonl"],
        [
            """{"prompt": "q", "chosen": "good", "rejected": "bad", "score": 3}""",
            $$"""{"prompt": "q", "chosen": "{{new string('o', 90)}}", "rejected": "bad"}""",
            $$"""{"prompt": "{{new string('q', 90)}}", "chosen": "good", "rejected": "bad"}""",
        ]);
        using Dataset data = Open(folder["data.jsonl"], 80)!;
        Assert.True(data.HasPairs);
        Assert.Equal(4, data.TrainingDocuments!.Count);
        Assert.Equal(81, data.TrainingDocuments.EndOf(2) - data.TrainingDocuments.EndOf(1));
        Assert.Contains(data.Notes, note => note.StartsWith("3 of 6 conversations are longer than the block of 80 tokens and lose their ends; 1 of the pairs have no answer left", StringComparison.Ordinal));
        Assert.Contains(data.Notes, note => note.StartsWith("2 pairs of answers", StringComparison.Ordinal));
        Assert.Contains("fields of the records that are not used: score", data.Notes);
    }

    [Fact]
    public void WindowsHoldBothSidesOfEachPairOnce()
    {
        const int Block = 50;
        var random = new Random(3);
        int[] lengths = [51, 2, 2, 51, .. Enumerable.Range(0, 40).Select(_ => random.Next(3, 52))];
        int[] ids = [.. Enumerable.Range(0, lengths.Sum()).Select(i => i + 1)], answers = [.. lengths.SelectMany(length => Enumerable.Range(0, length).Select(i => i >= length / 2 ? 1 : 0))];
        long end = 0;
        long[] ends = [.. lengths.Select(length => end += length)];
        var windows = new ConversationWindows(TokenSequence.From(ids), TokenSequence.From(answers), DocumentEnds.From(ends, ids.Length), Block, packs: true, sides: 2);
        var found = new List<int>();
        for (int window = 0; window < windows.Count; window++)
        {
            found.AddRange(windows.Members(window));
            int targets = 0;
            for (int side = 0; side < 2; side++)
            {
                int[] inputs = new int[Block], next = new int[Block], documents = new int[Block];
                windows.Fill(window, inputs, next, documents, side);
                targets += next.Count(id => id >= 0);
                for (int i = 0; i < windows.Members(window).Length; i++)
                {
                    int conversation = (windows.Members(window)[i] * 2) + side, start = (int)ends[conversation] - lengths[conversation];
                    Assert.Equal(ids[start..((int)ends[conversation] - 1)], inputs.Where((_, place) => documents[place] == i));
                }
            }

            Assert.Equal(windows.Targets(window), targets);
        }

        Assert.Equal(Enumerable.Range(0, lengths.Length / 2), found.Order());
        Assert.True(windows.Count < lengths.Length / 2);
    }

    private static Dataset? Open(string path, int block) => Dataset.TryReadConversations([path], () => ChatTemplate.ChatMl, text => CharTokenizer.From(text()), 0, block);

    private static PreferencePair Read(string record) => PreferencePair.Read(JsonDocument.Parse(record).RootElement, "case:1", new HashSet<string>());
}
