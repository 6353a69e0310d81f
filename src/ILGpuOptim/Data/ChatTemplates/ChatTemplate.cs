using System.Text;
using System.Text.Json;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>
/// Converts a conversation to the text that a model reads: a Jinja template, as Hugging Face's libraries keep it beside a model. Rendering follows
/// transformers' <c>apply_chat_template</c>.
/// </summary>
public sealed class ChatTemplate
{
    /// <summary>The file of a model's template.</summary>
    public const string FileName = "chat_template.jinja";

    private const string ChatMlText =
        "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}" +
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    private readonly JinjaTemplate template;
    private readonly Dictionary<string, object?> tokens;
    private readonly Lazy<string?> turnEnd;

    private ChatTemplate(string text, string source, Dictionary<string, object?> tokens)
    {
        (Text, this.tokens) = (text, tokens);
        template = JinjaTemplate.Parse(text, source);
        turnEnd = new(FindTurnEnd);
    }

    /// <summary>The template <c>chatml</c>: each message is <c>&lt;|im_start|&gt;role</c>, a line feed, the content, <c>&lt;|im_end|&gt;</c>, a line feed.</summary>
    public static ChatTemplate ChatMl { get; } = new(ChatMlText, "chatml", []);

    /// <summary>The name for messages: a file, or <c>chatml</c>.</summary>
    public string Source => template.Source;

    /// <summary>The template's text.</summary>
    public string Text { get; }

    /// <summary>
    /// What ends an assistant's message, such as <c>&lt;|im_end|&gt;</c>; found by rendering a conversation. Null if nothing marks the end, or the template
    /// refuses the conversation.
    /// </summary>
    public string? TurnEnd => turnEnd.Value;

    /// <summary>
    /// The template of a model's folder: <c>chat_template.jinja</c>, else the field <c>chat_template</c> of <c>tokenizer_config.json</c> (a string, or a list
    /// with one named <c>default</c>). Null if the folder has none.
    /// </summary>
    /// <exception cref="UserException">A file is damaged, or the template is not supported.</exception>
    public static ChatTemplate? Load(string folder) => Find(folder) is var (text, source) ? new ChatTemplate(text, source, TokensOf(folder)) : null;

    /// <summary>Opens a template.</summary>
    /// <param name="name"><c>chatml</c>, or a file.</param>
    /// <param name="folder">The model's folder, whose special tokens the template may name; null if there is none.</param>
    /// <exception cref="UserException">There is no such template, or it is not supported.</exception>
    public static ChatTemplate Open(string name, string? folder = null)
    {
        if (name == ChatMl.Source)
            return ChatMl;
        if (!File.Exists(name))
            throw new UserException($"there is no chat template \"{name}\"; give {ChatMl.Source}, or a file such as {FileName}");
        return new ChatTemplate(ReadText(name), name, folder is null ? [] : TokensOf(folder));
    }

    /// <summary>Saves the template to a model's folder, unless the folder's files have it already.</summary>
    public void Save(string folder)
    {
        if (Find(folder)?.Text != Text)
            AtomicFolder.WriteText(Path.Combine(folder, FileName), Text);
    }

    /// <summary>Copies the template of a model's folder to another, unless its files have it already. The template may be one that is not supported.</summary>
    internal static void Copy(string source, string target)
    {
        try
        {
            if (Find(source) is var (text, _) && Find(target)?.Text != text)
                AtomicFolder.WriteText(Path.Combine(target, FileName), text);
        }
        catch (UserException)
        {
            // Several templates of which none is the default: their files are copied with the tokenizer.
        }
    }

    /// <summary>The text of a conversation.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="addsGenerationPrompt">True: the text ends where the assistant's answer begins.</param>
    /// <exception cref="UserException">The template refuses the conversation.</exception>
    public string Render(IEnumerable<ChatMessage> messages, bool addsGenerationPrompt) => RenderAll(messages, addsGenerationPrompt).Text;

    /// <summary>
    /// The text of a whole conversation, and the start and end of each answer in it: the <c>{% generation %}</c> blocks, else the assistant's messages with
    /// <see cref="TurnEnd"/>.
    /// </summary>
    /// <exception cref="UserException">The template refuses the conversation, or the place of an answer cannot be found.</exception>
    internal (string Text, IReadOnlyList<(int Start, int End)> Answers) RenderAnswers(IReadOnlyList<ChatMessage> messages)
    {
        RenderedTemplate whole = RenderAll(messages, addsGenerationPrompt: false);
        int[] answers = [.. Enumerable.Range(0, messages.Count).Where(i => messages[i].IsAnswer)];
        if (whole.Generated.Count > 0)
        {
            return whole.Generated.Count == answers.Length ? (whole.Text, whole.Generated)
                : throw new UserException($"{Source}: the template has {whole.Generated.Count} generation blocks for {answers.Length} messages of the assistant; each message needs one");
        }

        return (whole.Text, [.. answers.Select(i => Answer(whole.Text, messages, i))]);
    }

    private (int Start, int End) Answer(string text, IReadOnlyList<ChatMessage> messages, int index)
    {
        string before = Render(messages.Take(index), addsGenerationPrompt: true), content = PythonText.Trim(messages[index].Content);
        int start = before.Length, place = text.StartsWith(before, StringComparison.Ordinal) ? text.IndexOf(content, start, StringComparison.Ordinal) : -1;
        if (place < 0)
            throw new UserException($"{Source}: the place of message {index + 1} in the text cannot be found, because the template changes it or the messages before it; mark answers with {{% generation %}} in the template");
        int end = place + content.Length, marked = end;
        while (marked < text.Length && PythonText.IsSpace(text[marked]) && !(TurnEnd is { } blank && text.AsSpan(marked).StartsWith(blank)))
            marked++;
        return (start, TurnEnd is { } turn && text.AsSpan(marked).StartsWith(turn) ? marked + turn.Length : end);
    }

    private RenderedTemplate RenderAll(IEnumerable<ChatMessage> messages, bool addsGenerationPrompt)
    {
        List<object?> values = [.. messages.Select(message => new TemplateDictionary { ["role"] = message.Role, ["content"] = message.Content })];
        return template.Render([.. tokens, new("messages", values), new("tools", null), new("documents", null), new("add_generation_prompt", addsGenerationPrompt)], TimeProvider.System);
    }

    /// <summary>What follows an answer, whether or not another message comes after it.</summary>
    private string? FindTurnEnd()
    {
        const string Answer = "ANSWER";
        try
        {
            ChatMessage[] messages = [new("user", "A"), new("assistant", Answer), new("user", "B")];
            RenderedTemplate rendered = RenderAll(messages[..2], addsGenerationPrompt: false);
            string last = After(rendered.Text);
            string longer = After(Render(messages, addsGenerationPrompt: false));
            string common = rendered.Generated is [var block] ? After(rendered.Text[..block.End]) : last[..last.AsSpan().CommonPrefixLength(longer)];

            // Both may go on with tags that begin alike.
            int open = common.LastIndexOf('<');
            if (open > common.LastIndexOf('>'))
                common = common[..open];
            string trimmed = PythonText.Trim(common);
            return trimmed.Length > 0 ? trimmed : common.Length > 0 ? common : null;
        }
        catch (UserException)
        {
            return null;
        }

        static string After(string text) => text[(text.LastIndexOf(Answer, StringComparison.Ordinal) is >= 0 and var at ? at + Answer.Length : text.Length)..];
    }

    private static JsonFields? ConfigOf(string folder) => Path.Combine(folder, CompanionSettings.Config) is var path && File.Exists(path) ? JsonFields.Open(path) : null;

    /// <summary>The text of a folder's template, and its place for messages.</summary>
    private static (string Text, string Source)? Find(string folder)
    {
        string file = Path.Combine(folder, FileName);
        if (File.Exists(file))
            return (ReadText(file), file);
        JsonFields? fields = ConfigOf(folder);
        return fields?.Element("chat_template") switch
        {
            null => OfProcessor(folder) ?? Additional(folder),
            { ValueKind: JsonValueKind.String } => (fields.RequiredText("chat_template"), $"{fields.Source}: chat_template"),
            { ValueKind: JsonValueKind.Array } => Default(fields),
            { } other => throw fields.Error("chat_template", $"is {JsonFields.Describe(other)}; it must be a string or a list of named templates"),
        };
    }

    /// <summary>The template of a processor (older models of text and images); null if there is none.</summary>
    private static (string, string)? OfProcessor(string folder)
    {
        string path = Path.Combine(folder, "chat_template.json");
        return File.Exists(path) ? (JsonFields.Open(path).RequiredText("chat_template"), path) : null;
    }

    /// <summary>The template <c>default</c> of several named ones; null if there are none.</summary>
    private static (string, string)? Additional(string folder)
    {
        string path = Path.Combine(folder, TokenizerFiles.ChatTemplates);
        string[] names = Directory.Exists(path) ? [.. Directory.EnumerateFiles(path, "*.jinja").Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal)!] : [];
        return names.Length == 0 ? null
            : names.Contains("default") ? (ReadText(Path.Combine(path, "default.jinja")), Path.Combine(path, "default.jinja"))
            : throw new UserException($"{path}: there is no template named default, only {string.Join(", ", names)}; copy the one to use to {FileName}");
    }

    private static (string, string) Default(JsonFields fields)
    {
        IReadOnlyList<JsonFields> named = fields.Objects("chat_template")!;
        JsonFields chosen = named.LastOrDefault(item => item.RequiredText("name") == "default")
            ?? throw fields.Error("chat_template", $"has no template named \"default\", only {string.Join(", ", named.Select(item => item.RequiredText("name")))}; save the one to use as {FileName}");
        return (chosen.RequiredText("template"), $"{fields.Source}: chat_template default");
    }

    /// <summary>The texts of special tokens, under their names in the files beside a tokenizer.</summary>
    private static Dictionary<string, object?> TokensOf(string folder) => CompanionSettings.Read(folder)?.TemplateTokens() ?? [];

    private static string ReadText(string path)
    {
        byte[] bytes = SourceFile.ReadAllBytes(path, 16 << 20, "it is not a chat template");
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes.AsSpan(bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? 3 : 0));
        }
        catch (DecoderFallbackException e)
        {
            throw new UserException($"{path}: not UTF-8 text; write the file as UTF-8", e);
        }
    }
}
