using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A token that is cut out of a text before the model sees the rest.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its text.</param>
internal sealed record AddedToken(int Id, string Content)
{
    /// <summary>Whether it is a token only where no word character stands beside it.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Whether white space before it belongs to it.</summary>
    public bool LeftStrip { get; init; }

    /// <summary>Whether white space behind it belongs to it.</summary>
    public bool RightStrip { get; init; }

    /// <summary>Whether it is sought in the normalized text, itself normalized.</summary>
    public bool Normalized { get; init; }

    /// <summary>Reads an element of <c>added_tokens</c>. Flags that are missing are false.</summary>
    public static AddedToken Read(JsonFields token)
    {
        var result = new AddedToken(token.RequiredInt("id"), token.RequiredText("content"))
        {
            SingleWord = token.Flag("single_word") ?? false,
            LeftStrip = token.Flag("lstrip") ?? false,
            RightStrip = token.Flag("rstrip") ?? false,
            Normalized = token.Flag("normalized") ?? false,
        };
        // Texts come back with their special tokens, so the flag changes nothing.
        token.Flag("special");
        token.Finish();
        return result;
    }
}
