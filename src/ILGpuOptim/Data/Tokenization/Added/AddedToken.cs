using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A token that is found in a text before the model encodes the rest.</summary>
/// <param name="Id">The id.</param>
/// <param name="Content">The text.</param>
internal sealed record AddedToken(int Id, string Content)
{
    /// <summary>Matches only where no word character is adjacent.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Includes the white space before the token in the match.</summary>
    public bool LeftStrip { get; init; }

    /// <summary>Includes the white space after the token in the match.</summary>
    public bool RightStrip { get; init; }

    /// <summary>Matches the normalized token in the normalized text.</summary>
    public bool Normalized { get; init; }

    /// <summary>A control token, such as end of text. Decoding here keeps such tokens like others.</summary>
    public bool Special { get; init; }

    /// <summary>Reads an element of <c>added_tokens</c>. Missing flags are false.</summary>
    public static AddedToken Read(JsonFields token)
    {
        var result = new AddedToken(token.RequiredInt("id"), token.RequiredText("content"))
        {
            SingleWord = token.Flag("single_word") ?? false,
            LeftStrip = token.Flag("lstrip") ?? false,
            RightStrip = token.Flag("rstrip") ?? false,
            Normalized = token.Flag("normalized") ?? false,
            Special = token.Flag("special") ?? false,
        };
        token.Finish();
        return result;
    }
}
