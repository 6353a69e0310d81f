using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;

namespace ILGpuOptim.Tests.Data.Conversations;

public sealed class ConversationTests
{
    private const string Two = """{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Yes?"}, {"role": "assistant", "content": "No."}]}""";

    public static TheoryData<string, string> Damaged => new()
    {
        { "{", "not valid JSON" },
        { "[1]", "must be an object" },
        { """{"text": "a"}""", "neither messages nor prompt with completion" },
        { """{"prompt": "a"}""", "neither messages nor prompt with completion" },
        { """{"messages": []}""", "has no message" },
        { """{"messages": [{"role": "user", "content": "a"}]}""", "no message of the assistant" },
        { """{"messages": [{"role": "assistant", "content": "a", "weight": 0}]}""", "no message of the assistant" },
        { """{"messages": [{"role": "assistant", "content": "a", "weight": 2}]}""", "must be 0 or 1" },
        { """{"messages": [{"content": "a"}]}""", "role is missing" },
        { """{"messages": [{"role": "", "content": "a"}]}""", "role is empty" },
        { """{"messages": [{"role": "assistant"}]}""", "content is missing" },
        { """{"messages": [{"role": "assistant", "content": 3}]}""", "it must be a string" },
        { """{"messages": [{"role": "assistant", "content": [{"type": "image"}]}]}""", "only parts of type" },
        { """{"messages": [{"role": "assistant", "content": "a", "tool_calls": [{}]}]}""", "tool_calls is [{}]: the field is not supported" },
        { """{"messages": [{"role": "assistant", "content": "a"}], "tools": [{}]}""", "tools is [{}]: the field is not supported" },
        { """{"messages": [{"role": "assistant", "content": "a"}], "prompt": "b"}""", "one of the two forms" },
        { """{"prompt": 1, "completion": "b"}""", "must be a string" },
    };

    [Theory]
    [InlineData(Two, "Yes?<|im_end|>|No.<|im_end|>")]
    [InlineData("""{"prompt": "Hi", "completion": "Yes?"}""", "Yes?<|im_end|>")]
    [InlineData("""{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "completion": [{"role": "assistant", "content": "c"}]}""", "c<|im_end|>")]
    [InlineData("""{"messages": [{"role": "assistant", "content": "a", "weight": 0}, {"role": "user", "content": [{"type": "text", "text": "b"}]}, {"role": "assistant", "content": "c"}]}""", "c<|im_end|>")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}""", "<|im_end|>")]
    public void OnlyAnswersWithTheirEndsAreMarked(string record, string answers)
    {
        ConversationTokens tokens = ConversationTokens.Encode(Read(record), ChatTemplate.ChatMl, new ByteTokenizer());
        Assert.Equal(answers, Marked(tokens, new ByteTokenizer()));
    }

    [Fact]
    public void ATokenOnTheBorderBelongsToTheAnswer()
    {
        using var folder = new TemporaryFolder();
        ChatTemplate template = Template(folder, "{% for m in messages %}{{ m.content }}{% endfor %}");
        var pairs = new PairTokenizer();
        ConversationTokens tokens = ConversationTokens.Encode(Read("""{"prompt": "abc", "completion": "def"}"""), template, pairs);
        Assert.Equal([false, true, true], tokens.IsAnswer);
    }

    [Theory]
    [InlineData("phi.jinja", "<|end|>", "Yes?<|end|>|No.<|end|>")]
    [InlineData("llama3.jinja", "<|eot_id|>", "Yes?<|eot_id|>|No.<|eot_id|>")]
    [InlineData("zephyr.jinja", "</s>", "Yes?</s>|No.</s>")]
    [InlineData("llama2.jinja", "</s>", " Yes? </s>| No. </s>")]
    [InlineData("gemma3.jinja", "<end_of_turn>", "Yes?<end_of_turn>|No.<end_of_turn>")]
    [InlineData("mistral.jinja", "</s>", " Yes?</s>| No.</s>")]
    [InlineData("qwen25.jinja", "<|im_end|>", "Yes?<|im_end|>|No.<|im_end|>")]
    public void TemplatesOfFamiliesGiveAnswersAndTheirEnds(string file, string end, string answers)
    {
        using var folder = new TemporaryFolder();
        ChatTemplate template = Template(folder, File.ReadAllText(Goldens.Folder("chat-templates", file)));
        Assert.Equal(end, template.TurnEnd);
        Assert.Equal(answers, Marked(ConversationTokens.Encode(Read(Two), template, new ByteTokenizer()), new ByteTokenizer()));
    }

    [Fact]
    public void AnswersThatATemplateChangesAreRefused()
    {
        using var folder = new TemporaryFolder();
        ChatTemplate template = Template(folder, "{% for m in messages %}{{ m.content | upper }};{% endfor %}");
        UserException error = Assert.Throws<UserException>(() => ConversationTokens.Encode(Read("""{"prompt": "abc", "completion": "def"}"""), template, new ByteTokenizer()));
        Assert.Contains("case:1", error.Message, StringComparison.Ordinal);
        Assert.Contains("{% generation %}", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Damaged))]
    public void DamagedLinesAreRefusedWithFileAndLine(string line, string message)
    {
        using var folder = new TemporaryFolder();
        string path = folder["data.jsonl"];
        File.WriteAllText(path, Two + "\n\n" + line + "\n");
        UserException error = Assert.Throws<UserException>(() => Open([path]));
        Assert.StartsWith(path + ":3: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FieldsThatAreNotUsedAreNamedInANote()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["data.jsonl"], """{"id": 3, "source": "x", "prompt": "a", "completion": "b"}""");
        using Dataset data = Open([folder["data.jsonl"]])!;
        Assert.Contains("fields of the records that are not used: id, source", data.Notes);
    }

    [Fact]
    public void OtherFilesAreNotConversations()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["a.jsonl"], """{"text": "a"}""");
        File.WriteAllText(folder["b.txt"], Two);
        Assert.Null(Open([folder["a.jsonl"], folder["b.txt"], folder["missing.jsonl"]]));
        File.WriteAllText(folder["c.jsonl"], Two);
        Assert.Contains("b.txt", Assert.Throws<UserException>(() => Open([folder["c.jsonl"], folder["b.txt"]])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void LongConversationsLoseTheirEndsWithANote()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["data.jsonl"], Two + "\n" + Two.Replace("Hi", new string('h', 300), StringComparison.Ordinal));
        using Dataset data = Open([folder["data.jsonl"]], block: 70)!;
        Assert.Equal(71, data.Training.Length);
        Assert.Contains(data.Notes, note => note.StartsWith("2 of 2 conversations are longer than the block of 70 tokens and lose their ends; 1 of them", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WindowsHoldEachConversationOnceAndWhole(bool packs)
    {
        const int Block = 50;
        var random = new Random(3);
        int[] lengths = [51, 2, .. Enumerable.Range(0, 40).Select(_ => random.Next(3, 52))];
        int[] ids = [.. Enumerable.Range(0, lengths.Sum()).Select(i => i + 1)];
        int[] answers = [.. lengths.SelectMany(length => Enumerable.Range(0, length).Select(i => i >= length / 2 ? 1 : 0))];
        long end = 0;
        var windows = new ConversationWindows(TokenSequence.From(ids), TokenSequence.From(answers), DocumentEnds.From([.. lengths.Select(length => end += length)], ids.Length), Block, packs);
        var found = new List<int>();
        int targets = 0;
        for (int window = 0; window < windows.Count; window++)
        {
            int[] inputs = new int[Block], next = new int[Block], documents = new int[Block];
            windows.Fill(window, inputs, next, documents);
            Assert.Equal(windows.Targets(window), next.Count(id => id >= 0));
            for (int i = 0; i < Block; i++)
            {
                if (inputs[i] == 0)
                    Assert.Equal(-1, next[i]);
                else
                    Assert.Equal(answers[inputs[i]] == 1 ? inputs[i] + 1 : -1, next[i]);
                Assert.Equal(i > 0 && (inputs[i - 1] == 0 ? inputs[i] == 0 : inputs[i] == inputs[i - 1] + 1), i > 0 && documents[i] == documents[i - 1]);
            }

            found.AddRange(inputs.Where(id => id > 0));
            targets += windows.Targets(window);
            Assert.True(packs || documents.Max() <= 1);
        }

        end = 0;
        HashSet<int> lasts = [.. lengths.Select(length => (int)(end += length))];
        Assert.Equal(ids.Where(id => !lasts.Contains(id)), found.Order());
        Assert.Equal(lengths.Sum(length => length - Math.Max(1, length / 2)), targets);
        Assert.InRange(windows.Count, 1, packs ? 26 : lengths.Length);
    }

    private static Dataset? Open(string[] paths, int block = 512) =>
        Dataset.TryReadConversations(paths, () => ChatTemplate.ChatMl, text => CharTokenizer.From(text()), 0, block);

    private static Conversation Read(string record) => Conversation.Read(System.Text.Json.JsonDocument.Parse(record).RootElement, "case:1", new HashSet<string>());

    /// <summary>A template in a folder whose tokenizer names begin and end tokens.</summary>
    private static ChatTemplate Template(TemporaryFolder folder, string text)
    {
        File.WriteAllText(folder["tokenizer_config.json"], """{"bos_token": "<s>", "eos_token": {"content": "</s>"}}""");
        File.WriteAllText(folder[ChatTemplate.FileName], text);
        return ChatTemplate.Load(folder.Path)!;
    }

    private static string Marked(ConversationTokens tokens, ITokenizer tokenizer)
    {
        var text = new StringBuilder();
        for (int i = 0; i < tokens.Ids.Length; i++)
        {
            if (tokens.IsAnswer[i])
                text.Append(text.Length > 0 && !tokens.IsAnswer[i - 1] ? "|" : "").Append(tokenizer.Decode([tokens.Ids[i]]));
        }

        return text.ToString();
    }

    /// <summary>Encodes two characters at a time.</summary>
    private sealed class PairTokenizer : ITokenizer
    {
        public string Kind => "pairs";

        public int VocabularySize => 1 << 16;

        public int[] Encode(ReadOnlySpan<char> text)
        {
            var ids = new List<int>();
            for (int i = 0; i < text.Length; i += 2)
                ids.Add(text[i] | (i + 1 < text.Length ? text[i + 1] << 8 : 0));
            return [.. ids];
        }

        public string Decode(ReadOnlySpan<int> ids) => throw new NotSupportedException();

        public void Save(string folder) => throw new NotSupportedException();
    }
}
