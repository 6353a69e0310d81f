using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;

namespace ILGpuOptim.Tests.Data.ChatTemplates;

/// <summary>Where a model's folder has its template and the special tokens that the template names, as transformers finds them.</summary>
public sealed class ChatTemplateFilesTests : IDisposable
{
    private const string Tokens = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}";

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private void Write(string name, string contents)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(folder[name])!);
        File.WriteAllText(folder[name], contents);
    }

    private string Rendered() => ChatTemplate.Load(folder.Path)!.Render([new ChatMessage("user", "hi")], addsGenerationPrompt: false);

    [Theory]
    [InlineData("{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}}", null, "<s>|</s>|")]
    [InlineData(null, "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}}", "<s>|</s>|")]
    [InlineData("{\"bos_token\": \"<a>\"}", "{\"eos_token\": \"</s>\"}", "<a>|</s>|")]
    [InlineData("{\"bos_token\": \"<a>\", \"added_tokens_decoder\": {}}", "{\"eos_token\": \"</s>\"}", "<a>||")]
    [InlineData("{\"tokenizer_class\": \"LlamaTokenizerFast\"}", null, "<s>|</s>|")]
    [InlineData("{\"tokenizer_class\": \"LlamaTokenizer\", \"bos_token\": null}", null, "|</s>|")]
    [InlineData("{\"tokenizer_class\": \"GPT2Tokenizer\", \"bos_token\": \"<b>\"}", null, "<b>|<|endoftext|>|")]
    [InlineData("{\"tokenizer_class\": \"Qwen2Tokenizer\", \"eos_token\": \"<|im_end|>\"}", null, "|<|im_end|>|<|endoftext|>")]
    [InlineData("{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}", null, "||")]
    [InlineData(null, null, "||")]
    public void SpecialTokensAreThoseOfTheFilesAndTheClass(string? config, string? map, string text)
    {
        if (config is not null)
            Write("tokenizer_config.json", config);
        if (map is not null)
            Write("special_tokens_map.json", map);
        Write(ChatTemplate.FileName, Tokens);
        Assert.Equal(text, Rendered());
    }

    [Fact]
    public void NamedAndAdditionalTokensHaveNames()
    {
        Write("tokenizer_config.json", """{"extra_special_tokens": {"image_token": "<img>", "boi_token": {"content": "<boi>"}}}""");
        Write(ChatTemplate.FileName, "{{ image_token }}{{ boi_token }}");
        Assert.Equal("<img><boi>", Rendered());
        Write("tokenizer_config.json", """{"additional_special_tokens": ["<a>", "<b>"]}""");
        Write(ChatTemplate.FileName, "{{ additional_special_tokens | join }}");
        Assert.Equal("<a><b>", Rendered());
    }

    /// <summary>transformers always gives both, as None.</summary>
    [Fact]
    public void ThereAreNoToolsAndDocuments()
    {
        Write(ChatTemplate.FileName, "{% if tools is not none or documents is not none %}WRONG{% endif %}{{ tools is defined }} {{ tools }} {{ not documents }}");
        Assert.Equal("True None True", Rendered());
    }

    [Fact]
    public void TheDefaultOfSeveralTemplatesIsTaken()
    {
        Write("tokenizer_config.json", """{"chat_template": [{"name": "default", "template": "A"}, {"name": "rag", "template": "B"}, {"name": "default", "template": "C"}]}""");
        Assert.Equal("C", Rendered());
    }

    [Fact]
    public void OtherFilesOfTemplatesAreRead()
    {
        Write("chat_template.json", """{"chat_template": "P{{ messages[0].content }}"}""");
        Assert.Equal("Phi", Rendered());
        File.Delete(folder["chat_template.json"]);
        Write("additional_chat_templates/rag.jinja", "R");
        Assert.Contains("only rag", Assert.Throws<UserException>(Rendered).Message, StringComparison.Ordinal);
        ChatTemplate.Copy(folder.Path, folder.Path);
        Write("additional_chat_templates/default.jinja", "D");
        Assert.Equal("D", Rendered());
        Write(ChatTemplate.FileName, "F");
        Assert.Equal("F", Rendered());
    }
}
