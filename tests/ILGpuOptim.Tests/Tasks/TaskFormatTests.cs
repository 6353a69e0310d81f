using System.IO.Compression;
using System.Text;
using ILGpuOptim.Tasks;
using Parquet;
using Parquet.Serialization;

namespace ILGpuOptim.Tests.Tasks;

public sealed class TaskFormatTests : IDisposable
{
    private const string HellaSwag = """
        {"ind": 4, "activity_label": "Removing ice", "ctx_a": "A man scrapes [header] a car [title] Ice  is on it.", "ctx_b": "the Man", "ctx": "A man. the Man",
        "split": "val", "split_type": "indomain", "label": 1, "endings": ["goes [step] away.", "[substeps] scrapes on."], "source_id": "activitynet~v"}
        """;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>The prompts are those of the Language Model Evaluation Harness's task files, and the fields those of the published data.</summary>
    [Theory]
    [InlineData("choices", """{"context": "2 + 2 =", "choices": ["4", "5"], "answer": 0}""", "2 + 2 =", " 4| 5", 0)]
    [InlineData("choices", """{"id": "x", "context": "two ", "choices": ["four", "five"], "answer": 1}""", "two ", "four|five", 1)]
    [InlineData("choices", """{"context": "国", "choices": ["一", "二"], "answer": 1, "delimiter": ""}""", "国", "一|二", 1)]
    [InlineData("arc", """{"id": "M", "question": "Which?", "choices": {"text": ["a", "b", "c"], "label": ["1", "2", "3"]}, "answerKey": "3"}""", "Question: Which?\nAnswer:", " a| b| c", 2)]
    [InlineData("openbookqa", """{"id": "7", "question_stem": "The sun", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": " B"}""", "The sun", " a| b", 1)]
    [InlineData("commonsense_qa", """{"id": "7", "question": " Where? ", "question_concept": "w", "choices": {"label": ["A", "B"], "text": ["bank", "sea"]}, "answerKey": "A"}""", "Question: Where?\nA. bank\nB. sea\nAnswer:", " A| B", 0)]
    [InlineData("piqa", """{"goal": "Cut it", "sol1": "saw", "sol2": "spoon", "label": 0}""", "Question: Cut it\nAnswer:", " saw| spoon", 0)]
    [InlineData("hellaswag", HellaSwag, "Removing ice: A man scrapes a car. Ice is on it. The man", " goes away.|  scrapes on.", 1)]
    [InlineData("boolq", """{"question": "is it so", "passage": "It is.", "answer": true}""", "It is.\nQuestion: is it so?\nAnswer:", " no| yes", 1)]
    [InlineData("boolq", """{"question": "is it so", "passage": "It is.", "idx": 3, "label": 0}""", "It is.\nQuestion: is it so?\nAnswer:", " no| yes", 0)]
    [InlineData("copa", """{"premise": "The man fell. ", "choice1": "He slipped.", "choice2": "It rained.", "question": "cause", "idx": 0, "label": 1}""", "The man fell because", " he slipped.| it rained.", 1)]
    [InlineData("copa", """{"premise": "The man fell.", "choice1": "He cried.", "choice2": "It rained.", "question": "effect", "label": 0}""", "The man fell therefore", " he cried.| it rained.", 0)]
    [InlineData("sciq", """{"question": "Q?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "d", "support": " S."}""", "S.\nQuestion: Q?\nAnswer:", " a| b| c| d", 3)]
    [InlineData("mmlu", """{"question": "Q? ", "subject": "high_school_physics", "choices": ["w", "x", "y", "z"], "answer": 2}""", "The following are multiple choice questions (with answers) about high school physics.\n\nQ?\nA. w\nB. x\nC. y\nD. z\nAnswer:", " A| B| C| D", 2)]
    [InlineData("mmlu", """{"question": "Q?", "choices": ["w", "x"], "answer": "B"}""", "Q?\nA. w\nB. x\nAnswer:", " A| B", 1)]
    [InlineData("lambada", """{"text": "he opened the door"}""", "he opened the", " door", 0)]
    public void RecordsBecomePrompts(string format, string record, string context, string continuations, int answer)
    {
        EvaluationTask task = Open("task.jsonl", record.ReplaceLineEndings(""));
        Assert.Equal(format, task.Format);
        TaskItem item = Assert.Single(task.Items);
        Assert.Equal(context, item.Context(0));
        Assert.Equal(continuations, string.Join('|', Enumerable.Range(0, item.Choices).Select(i => item.Delimiter + item.Continuation(i))));
        Assert.Equal(answer, item.Answer);
    }

    [Fact]
    public void WinoGrandePutsTheOptionIntoTheContext()
    {
        TaskItem item = Assert.Single(Open("w.jsonl", """{"sentence": "Ann thanked Bea because _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2", "qID": "q"}""").Items);
        Assert.Equal(("Ann thanked Bea because Ann", "Ann thanked Bea because Bea", "had helped.", 2, 1), (item.Context(0), item.Context(1), item.Continuation(1), item.Choices, item.Answer));
    }

    [Fact]
    public void HellaSwagHasThePromptOfLlmCToo()
    {
        TaskItem item = Assert.Single(Open("h.jsonl", HellaSwag.ReplaceLineEndings(""), new TaskOptions { Format = "hellaswag-plain" }).Items);
        Assert.Equal(("A man. the Man", "goes [step] away."), (item.Context(0), item.Continuation(0)));
        Assert.Equal("hellaswag-plain", Open("short.jsonl", """{"ctx": "A", "endings": ["b", "c"], "label": "1"}""").Format);
    }

    [Fact]
    public void NestedChoicesNeedAName()
    {
        const string record = """{"id": "1", "question": {"stem": "Why", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}, "answerKey": "B"}""";
        Assert.Contains("several formats (arc, openbookqa)", Refused(record), StringComparison.Ordinal);
        Assert.Equal("Question: Why\nAnswer:", Open("n.jsonl", record, new TaskOptions { Format = "arc" }).Items[0].Context(0));
        Assert.Equal("Why", Open("n.jsonl", record, new TaskOptions { Format = "openbookqa" }).Items[0].Context(0));
    }

    [Fact]
    public void GenerationAcceptsSeveralAnswers()
    {
        TaskItem[] items = [.. Open("g.jsonl", """
            {"prompt": "1 + 1 =", "answer": "2"}

            {"prompt": "a, b, ", "answer": ["c", "d"]}
            """).Items];
        Assert.Equal(["1 + 1 =", "a, b, "], items.Select(item => item.Context(0)));
        Assert.Equal(["2|c,d"], [string.Join('|', items.Select(item => string.Join(',', item.Continuations)))]);
    }

    [Theory]
    [InlineData("""{"question": "Q", "answer": "4 #### 4"}""", "GSM8K")]
    [InlineData("""{"goal": "a", "sol1": "b", "sol2": "c"}""", "for piqa, the record lacks label")]
    [InlineData("""{"goal": "a", "sol1": "b", "sol2": "c", "label": 1, "hint": "x"}""", "for piqa, the record has hint")]
    [InlineData("""{"goal": "a", "sol1": "b", "sol2": "c", "label": -1}""", "withheld")]
    [InlineData("""{"sentence": "a _ b", "option1": "a", "option2": "b", "answer": ""}""", "withheld")]
    [InlineData("""{"sentence": "a b", "option1": "a", "option2": "b", "answer": "1"}""", "one blank")]
    [InlineData("""{"goal": "a", "sol1": "b", "sol2": "c", "label": 2}""", "from 0 to 1")]
    [InlineData("""{"goal": "a", "sol1": "", "sol2": "c", "label": 1}""", "a choice is empty")]
    [InlineData("""{"context": "a", "choices": ["b"], "answer": 0}""", "at least two")]
    [InlineData("""{"context": "a", "choices": ["b", ""], "answer": 0}""", "empty")]
    [InlineData("""{"context": "a", "choices": "b", "answer": 0}""", "must be an array")]
    [InlineData("""{"question": "Q", "choices": {"text": ["a", "b"], "label": ["A", "A"]}, "answerKey": "A"}""", "one of the labels")]
    [InlineData("""{"question": "Q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}""", "1 entries for 2 texts")]
    [InlineData("""{"premise": "a.", "choice1": "b", "choice2": "c", "question": "why", "label": 0}""", "cause or effect")]
    [InlineData("""{"text": "word"}""", "after a space")]
    [InlineData("""{"text": "a b", "text": "c d"}""", "appears twice")]
    [InlineData("""["a"]""", "must be an object")]
    [InlineData("""{"text": """, "not valid JSON")]
    [InlineData(" ", "no records")]
    public void OtherRecordsAreRefusedByName(string record, string reason) => Assert.Contains(reason, Refused(record), StringComparison.Ordinal);

    [Fact]
    public void ALaterRecordOfAnotherKindIsNamed()
    {
        const string first = """{"goal": "a", "sol1": "b", "sol2": "c", "label": 1}""" + "\n";
        Assert.Contains("line 2: hint is", Refused(first + """{"goal": "a", "sol1": "b", "sol2": "c", "label": 1, "hint": "x"}"""), StringComparison.Ordinal);
        Assert.Contains("line 2: sol1 is missing", Refused(first + """{"goal": "a", "label": 1}"""), StringComparison.Ordinal);
        Assert.Equal(1, Open("two.jsonl", first + "damaged", new TaskOptions { Limit = 1 }).Count);
    }

    [Fact]
    public void ArraysAndArchivesAreRead()
    {
        const string lines = "{\"text\": \"a b\"}\n{\"text\": \"c d\"}\n", array = "[\n{\"text\": \"a b\"},\n {\"text\":\n\"c d\"}\n]\n";
        File.WriteAllText(folder["array.json"], array);
        File.WriteAllText(folder["lines.json"], lines);
        foreach ((string name, string text) in new[] { ("x.jsonl.gz", lines), ("y.json.gz", array) })
        {
            using var packed = new GZipStream(File.Create(folder[name]), CompressionMode.Compress);
            packed.Write(Encoding.UTF8.GetBytes(text));
        }

        foreach (string name in (string[])["array.json", "lines.json", "x.jsonl.gz", "y.json.gz"])
        {
            EvaluationTask task = EvaluationTask.Open(folder[name]);
            Assert.Equal(["a", "c"], task.Items.Select(item => item.Context(0)));
            Assert.Equal(name.Split('.')[0], task.Name);
        }

        File.WriteAllText(folder["broken.json"], "[{\"text\": \"a b\"},\n");
        Assert.Contains("broken.json", Assert.Throws<UserException>(() => EvaluationTask.Open(folder["broken.json"])).Message, StringComparison.Ordinal);
        File.WriteAllText(folder["task.csv"], "a,b");
        Assert.Contains("convert the file", Assert.Throws<UserException>(() => EvaluationTask.Open(folder["task.csv"])).Message, StringComparison.Ordinal);
    }

    /// <summary>Nested columns, as Hugging Face's files have them.</summary>
    [Fact]
    public async Task ParquetRowsAreRecords()
    {
        var questions = Enumerable.Range(0, 5).Select(i => new Arc { id = $"q{i}", question = $"Q{i}?", choices = new Labelled { text = ["x", $"y{i}"], label = ["A", "B"] }, answerKey = i % 2 == 0 ? "A" : "B" });
        await using (FileStream file = File.Create(folder["arc.parquet"]))
            await ParquetSerializer.SerializeAsync(questions.ToList(), file, new ParquetOptions { RowGroupSize = 2 }, cancellationToken: TestContext.Current.CancellationToken);
        EvaluationTask task = EvaluationTask.Open(folder["arc.parquet"]);
        Assert.Equal(("arc", "arc", 5), (task.Format, task.Name, task.Count));
        Assert.Equal(["Question: Q0?\nAnswer: x|y0|0", "Question: Q3?\nAnswer: x|y3|1"], new[] { 0, 3 }.Select(i => $"{task.Items[i].Context(0)} {string.Join('|', task.Items[i].Continuations)}|{task.Items[i].Answer}"));
        Assert.EndsWith("row 4", task.Items[3].Place, StringComparison.Ordinal);
        byte[] whole = File.ReadAllBytes(folder["arc.parquet"]);
        File.WriteAllBytes(folder["arc.parquet"], whole[..^9]);
        Assert.Contains("cannot be read as Parquet", Assert.Throws<UserException>(() => EvaluationTask.Open(folder["arc.parquet"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ExamplesStandBeforeTheQuestion()
    {
        File.WriteAllText(folder["dev.jsonl"], string.Concat(Enumerable.Range(0, 4).Select(i => $$"""{"question": "E{{i}}", "subject": "{{(i % 2 == 0 ? "law" : "art")}}", "choices": ["p", "q"], "answer": 1}""" + "\n")));
        const string question = """{"question": "Q", "subject": "art", "choices": ["x", "y"], "answer": 0}""";
        var options = new TaskOptions { Shots = 2, ShotsFrom = folder["dev.jsonl"] };
        Assert.Equal(
            "The following are multiple choice questions (with answers) about art.\n\nE1\nA. p\nB. q\nAnswer: B\n\nE3\nA. p\nB. q\nAnswer: B\n\nQ\nA. x\nB. y\nAnswer:",
            Open("q.jsonl", question, options).Items[0].Context(0));
        Assert.Contains("fewer than 3", Refused(question, options with { Shots = 3 }), StringComparison.Ordinal);
        Assert.Contains("belong together", Refused(question, new TaskOptions { Shots = 1 }), StringComparison.Ordinal);
        Assert.Contains("format mmlu", Refused("""{"text": "a b"}""", options), StringComparison.Ordinal);
    }

    [Fact]
    public void UnknownFormatsAreNamed()
    {
        Assert.Contains("hellaswag", Refused("""{"text": "a b"}""", new TaskOptions { Format = "helaswag" }), StringComparison.Ordinal);
        Assert.Contains("not of the format piqa: it lacks goal", Refused("""{"text": "a b"}""", new TaskOptions { Format = "piqa" }), StringComparison.Ordinal);
    }

    private sealed class Arc
    {
        public string id { get; set; } = "";

        public string question { get; set; } = "";

        public Labelled choices { get; set; } = new();

        public string answerKey { get; set; } = "";
    }

    private sealed class Labelled
    {
        public List<string> text { get; set; } = [];

        public List<string> label { get; set; } = [];
    }

    private EvaluationTask Open(string name, string text, TaskOptions? options = null)
    {
        File.WriteAllText(folder[name], text);
        return EvaluationTask.Open(folder[name], options);
    }

    private string Refused(string text, TaskOptions? options = null) => Assert.Throws<UserException>(() => Open("task.jsonl", text, options)).Message;
}
