using System.Runtime.InteropServices;
using ILGpuOptim.Data;

namespace ILGpuOptim.Generation;

/// <summary>
/// Text from tokens as they come. A character may take several tokens, and a stop string may begin in one token and end in
/// another: what is not certain yet is held back.
/// </summary>
/// <param name="tokenizer">Knows what the ids mean.</param>
/// <param name="prompt">The ids that the text follows: some tokenizers write the first token of a text differently.</param>
/// <param name="stops">The text ends where one of these begins; empty ones count for nothing.</param>
public sealed class TextStream(ITokenizer tokenizer, ReadOnlySpan<int> prompt, IReadOnlyList<string> stops)
{
    /// <summary>Tokens of the prompt that are decoded along.</summary>
    private const int Context = 8;

    /// <summary>A character has at most four bytes: when so many tokens bring no whole one, none will come.</summary>
    private const int MaxIncomplete = 8;

    private readonly List<int> ids = [.. prompt[Math.Max(0, prompt.Length - Context)..]];
    private int known = Math.Min(Context, prompt.Length);
    private string knownText = tokenizer.Decode(prompt[Math.Max(0, prompt.Length - Context)..]);
    private string held = "";

    /// <summary>True after a stop string, which ends the text.</summary>
    public bool Stopped { get; private set; }

    /// <summary>Takes a token and returns the text that is certain now, often that of this token.</summary>
    public string Append(int id)
    {
        if (Stopped)
            return "";
        ids.Add(id);
        string text = tokenizer.Decode(CollectionsMarshal.AsSpan(ids));
        if (text.Length <= knownText.Length || (text.EndsWith('\uFFFD') && ids.Count - known < MaxIncomplete))
            return "";
        return Release(Forget(text), final: false);
    }

    /// <summary>The rest, when no more tokens come.</summary>
    public string Finish()
    {
        if (Stopped)
            return "";
        string text = tokenizer.Decode(CollectionsMarshal.AsSpan(ids));
        return Release(text.Length > knownText.Length ? Forget(text) : "", final: true);
    }

    /// <summary>The new part of the text. Only its tokens are kept, to decode the next ones after them.</summary>
    private string Forget(string text)
    {
        string added = text[knownText.Length..];
        ids.RemoveRange(0, known);
        known = ids.Count;
        knownText = tokenizer.Decode(CollectionsMarshal.AsSpan(ids));
        return added;
    }

    private string Release(string added, bool final)
    {
        held += added;
        int end = held.Length, safe = end;
        foreach (string stop in stops)
        {
            if (stop.Length == 0)
                continue;
            int found = held.IndexOf(stop, StringComparison.Ordinal);
            if (found >= 0 && found < end)
            {
                end = safe = found;
                Stopped = true;
            }
        }

        if (!Stopped && !final)
            safe = end - Ambiguous();
        string result = held[..safe];
        held = held[safe..];
        return result;
    }

    /// <summary>The length of the longest end of the text that may begin a stop string.</summary>
    private int Ambiguous()
    {
        int longest = 0;
        foreach (string stop in stops)
        {
            for (int length = Math.Min(stop.Length - 1, held.Length); length > longest; length--)
            {
                if (held.AsSpan(held.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                    longest = length;
            }
        }

        return longest;
    }
}
