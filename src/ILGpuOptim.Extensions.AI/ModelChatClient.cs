using System.Runtime.CompilerServices;
using System.Text;
using ILGpuOptim.Chat;
using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using Microsoft.Extensions.AI;

namespace ILGpuOptim.Extensions.AI;

/// <summary>
/// A model as a chat client of Microsoft.Extensions.AI. Requests of several threads are answered one after another. What the model cannot do (tools, other
/// formats than text, penalties) is refused, not ignored.
/// </summary>
public sealed class ModelChatClient : IChatClient
{
    private readonly ChatModel model;
    private readonly Device? ownDevice;
    private readonly SemaphoreSlim turn = new(1, 1);

    /// <summary>Makes a client of a model, which the client disposes.</summary>
    /// <param name="model">The model, with a chat template.</param>
    public ModelChatClient(ChatModel model) => this.model = model;

    private ModelChatClient(ChatModel model, Device device) : this(model) => ownDevice = device;

    /// <summary>Loads a model.</summary>
    /// <param name="path">A run, a checkpoint, or a folder in Hugging Face's layout.</param>
    /// <param name="device">The device: <c>cpu</c>, <c>cuda</c>, <c>opencl</c> or <c>auto</c>.</param>
    /// <param name="template">A chat template: <c>chatml</c>, or a file; null: the model's own.</param>
    /// <exception cref="UserException">The model cannot be read, or writes no text.</exception>
    public static ModelChatClient Open(string path, string device = "cpu", string? template = null)
    {
        Device target = Devices.Open(device);
        try
        {
            return new ModelChatClient(ChatModel.Open(path, target, template), target);
        }
        catch
        {
            target.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="NotSupportedException">An option or a part of a message is not supported.</exception>
    /// <exception cref="UserException">The conversation is too long, or the model's template refuses it.</exception>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        await GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    /// <exception cref="NotSupportedException">An option or a part of a message is not supported.</exception>
    /// <exception cref="UserException">The conversation is too long, or the model's template refuses it.</exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        CompletionOptions completion = Convert(options);
        List<Data.Conversations.ChatMessage> conversation = [.. messages.Select(Convert)];
        if (!string.IsNullOrEmpty(options?.Instructions))
            conversation.Insert(0, new(ChatRole.System.Value, options.Instructions));
        string id = Guid.NewGuid().ToString("n");
        await turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            int prompt = await Task.Run(() => model.PromptOf(conversation).Length, cancellationToken).ConfigureAwait(false), tokens = 0;
            using IEnumerator<CompletionPart> parts = model.Answer(conversation, completion).GetEnumerator();

            // Each token takes a pass over the weights, which must not hold up the caller's thread.
            while (await Task.Run(parts.MoveNext, cancellationToken).ConfigureAwait(false))
            {
                CompletionPart part = parts.Current;
                tokens++;
                if (part.Text.Length > 0 || part.End != CompletionEnd.None)
                    yield return Update(part);
            }

            yield return new ChatResponseUpdate(ChatRole.Assistant, [new UsageContent(new UsageDetails { InputTokenCount = prompt, OutputTokenCount = tokens, TotalTokenCount = prompt + tokens })])
            {
                ResponseId = id,
                MessageId = id,
                ModelId = model.Folder,
            };
        }
        finally
        {
            turn.Release();
        }

        ChatResponseUpdate Update(CompletionPart part) => new(ChatRole.Assistant, part.Text)
        {
            ResponseId = id,
            MessageId = id,
            ModelId = model.Folder,
            CreatedAt = DateTimeOffset.UtcNow,
            FinishReason = part.End switch { CompletionEnd.Stop => ChatFinishReason.Stop, CompletionEnd.Length => ChatFinishReason.Length, _ => null },
        };
    }

    /// <summary>Gives this client, the <see cref="ChatModel"/>, or a description of the client.</summary>
    /// <param name="serviceType">The type wanted.</param>
    /// <param name="serviceKey">Must be null.</param>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? new ChatClientMetadata("ilgpuoptim", null, model.Folder)
            : serviceType.IsInstanceOfType(this) ? this
            : serviceType.IsInstanceOfType(model) ? model : null;
    }

    /// <summary>Frees the model, and the device that <see cref="Open"/> opened.</summary>
    public void Dispose()
    {
        model.Dispose();
        ownDevice?.Dispose();
        turn.Dispose();
    }

    private static Data.Conversations.ChatMessage Convert(ChatMessage message)
    {
        var text = new StringBuilder();
        foreach (AIContent content in message.Contents)
            text.Append(content is TextContent part ? part.Text : throw new NotSupportedException($"a message of {message.Role} has {content.GetType().Name}; models of this library read text only"));
        return new(message.Role.Value, text.ToString());
    }

    private static CompletionOptions Convert(ChatOptions? options)
    {
        options ??= new ChatOptions();
        Refuse(options.FrequencyPenalty is not (null or 0), nameof(options.FrequencyPenalty));
        Refuse(options.PresencePenalty is not (null or 0), nameof(options.PresencePenalty));
        Refuse(options.ResponseFormat is not (null or ChatResponseFormatText), nameof(options.ResponseFormat));
        Refuse(options.Tools is { Count: > 0 }, nameof(options.Tools));
        Refuse(options.ConversationId is not null, nameof(options.ConversationId));
        Refuse(options.AdditionalProperties is { Count: > 0 }, nameof(options.AdditionalProperties));
        var defaults = new SamplingOptions();
        return new CompletionOptions
        {
            MaxTokens = options.MaxOutputTokens,
            Stops = options.StopSequences is { } stops ? [.. stops] : [],
            Sampling = new SamplingOptions
            {
                Temperature = options.Temperature ?? defaults.Temperature,
                TopP = options.TopP ?? defaults.TopP,
                TopK = options.TopK ?? defaults.TopK,
                Seed = options.Seed is { } seed ? unchecked((ulong)seed) : (ulong)Random.Shared.NextInt64(),
            },
        };
    }

    private static void Refuse(bool isGiven, string name)
    {
        if (isGiven)
            throw new NotSupportedException($"{nameof(ChatOptions)}.{name} is not supported; leave it out");
    }
}
