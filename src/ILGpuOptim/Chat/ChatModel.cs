using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.ChatTemplates;
using ILGpuOptim.Data.Conversations;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Chat;

/// <summary>
/// A model with its tokenizer and its chat template. It keeps the keys and values of the last prompt and answer, so that the next turn of a conversation
/// computes only what is new. One thread at a time may use it.
/// </summary>
public sealed class ChatModel : IDisposable
{
    private readonly ModelSource source;
    private readonly TextGenerator generator;
    private readonly int[] endTokens;
    private Decoder? decoder;

    private ChatModel(ModelSource source, LanguageModel model, Device device, ITokenizer tokenizer, ChatTemplate? template)
    {
        (this.source, Model, Device, Tokenizer, Template) = (source, model, device, tokenizer, template);
        generator = new TextGenerator(model, device);
        Generation = GenerationConfig.Of(source.Folder);
        TurnEnd = template?.TurnEnd;
        endTokens = [.. Generation.EndTokens, .. TurnEnd is { } end && tokenizer.IdOf(end) is { } id ? [id] : Array.Empty<int>()];
    }

    /// <summary>The model.</summary>
    public LanguageModel Model { get; }

    /// <summary>The device of the model.</summary>
    public Device Device { get; }

    /// <summary>The tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Converts conversations to text; null for a model that was not trained on conversations.</summary>
    public ChatTemplate? Template { get; }

    /// <summary>The folder of the model.</summary>
    public string Folder => source.Folder;

    /// <summary>What the folder says about generation.</summary>
    public GenerationConfig Generation { get; }

    private string? TurnEnd { get; }

    /// <summary>Loads a model.</summary>
    /// <param name="path">A run, a checkpoint, or a folder in Hugging Face's layout.</param>
    /// <param name="device">Where it computes; it must outlive the model.</param>
    /// <param name="template">A chat template, as for <see cref="ChatTemplate.Open"/>; null: that of the folder.</param>
    /// <exception cref="UserException">The folder has no causal model or no tokenizer, or a file is damaged or not supported.</exception>
    public static ChatModel Open(string path, Device device, string? template = null)
    {
        ModelSource source = ModelSource.Open(path);
        LanguageModel? model = null;
        try
        {
            string folder = source.Folder;
            ITokenizer tokenizer = Tokenizers.Load(folder) ?? throw new UserException($"{folder}: there is no tokenizer beside the model, so it cannot read or write text");
            ChatTemplate? form = template is null ? ChatTemplate.Load(folder) : ChatTemplate.Open(template, folder);
            model = ModelFiles.Load(folder, device);
            if (!model.WritesText || model.HasEncoder)
                throw new UserException($"{folder}: {model.Config.Family} does not continue a text; take a causal model, such as GPT-2 or LLaMA");
            return new ChatModel(source, model, device, tokenizer, form);
        }
        catch
        {
            model?.Dispose();
            source.Dispose();
            throw;
        }
    }

    /// <summary>The tokens that the model reads before it answers.</summary>
    /// <exception cref="UserException">The model has no template, or its template refuses the conversation.</exception>
    public int[] PromptOf(IReadOnlyList<ChatMessage> messages) => Tokenizer.Encode((Template
        ?? throw new UserException($"{Folder}: the model has no chat template ({ChatTemplate.FileName}), so it was hardly trained on conversations; name a template")).Render(messages, addsGenerationPrompt: true));

    /// <summary>Answers a conversation, part by part.</summary>
    /// <param name="messages">The conversation, which ends with a message to answer.</param>
    /// <param name="options">How to answer.</param>
    /// <exception cref="UserException">The template refuses the conversation, or it is too long for the model.</exception>
    public IEnumerable<CompletionPart> Answer(IReadOnlyList<ChatMessage> messages, CompletionOptions options) =>
        Continue(PromptOf(messages), TurnEnd is { } end ? options with { Stops = [.. options.Stops, end] } : options);

    /// <summary>Continues a text, part by part. A text ends at the model's end-of-text token too.</summary>
    /// <param name="prompt">At least one token, and fewer than the model has positions.</param>
    /// <param name="options">How to continue.</param>
    /// <exception cref="UserException">The prompt is empty or too long, or an option is out of range.</exception>
    public IEnumerable<CompletionPart> Continue(IReadOnlyList<int> prompt, CompletionOptions options)
    {
        Ranges.Check(options);
        int positions = Model.Config.ContextLength;
        if (prompt.Count >= positions)
            throw new UserException($"the prompt has {prompt.Count} tokens, but the model has {positions} positions; shorten it, or begin a new conversation (/clear in chat)");
        int most = Math.Min(options.MaxTokens ?? int.MaxValue, positions - prompt.Count);
        return Parts(prompt, most, options);
    }

    private IEnumerable<CompletionPart> Parts(IReadOnlyList<int> prompt, int most, CompletionOptions options)
    {
        using GenerationBatch batch = options.Count > 1 ? generator.Start([.. Enumerable.Repeat(prompt, options.Count)], most, options.Sampling)
            : generator.Start(prompt, most, options.Sampling, DecoderFor(prompt.Count + most));
        TextStream[] streams = [.. Enumerable.Range(0, options.Count).Select(_ => new TextStream(Tokenizer, [.. prompt], options.Stops))];
        int[] lengths = new int[options.Count];
        while (!batch.IsFinished)
        {
            batch.Advance();
            foreach (GeneratedToken token in batch.Drawn.ToArray())
            {
                TextStream stream = streams[token.Sample];
                lengths[token.Sample]++;
                bool ends = endTokens.Contains(token.Id);
                string text = ends ? stream.Finish() : stream.Append(token.Id);
                CompletionEnd end = ends || stream.Stopped ? CompletionEnd.Stop : lengths[token.Sample] == most ? CompletionEnd.Length : CompletionEnd.None;
                if (end == CompletionEnd.Length)
                {
                    text += stream.Finish();
                    end = stream.Stopped ? CompletionEnd.Stop : end;
                }

                if (end != CompletionEnd.None)
                    batch.End(token.Sample);
                yield return new CompletionPart(token.Sample, text, token, end);
            }
        }
    }

    /// <summary>The decoder that keeps the last text, with room for a number of tokens.</summary>
    private Decoder DecoderFor(int length)
    {
        const int Step = 256;
        if (decoder is null || decoder.Capacity < length)
        {
            decoder?.Dispose();
            decoder = null;
            decoder = Decoder.Create(Model, Device, 1, (int)Math.Min(((long)length + Step - 1) / Step * Step, Model.Config.ContextLength));
        }

        return decoder;
    }

    /// <summary>Frees the model.</summary>
    public void Dispose()
    {
        decoder?.Dispose();
        Model.Dispose();
        source.Dispose();
    }
}
