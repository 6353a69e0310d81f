namespace ILGpuOptim.Data.Conversations;

/// <summary>
/// Windows of whole conversations. Each conversation is in one window; a window holds as many as fit (best fit, longest first), followed by padding. The last token
/// of a conversation predicts nothing, so it takes no place. Only tokens of answers are targets. A window of pairs has two sides, each of a block: the chosen
/// conversations, and the rejected ones in the same order.
/// </summary>
internal sealed class ConversationWindows
{
    private readonly TokenSequence tokens, answers;
    private readonly DocumentEnds ends;
    private readonly int block, sides;

    /// <summary>The conversations or pairs of all windows, and the first of each window.</summary>
    private readonly int[] members, first;

    /// <summary>The targets of each window, on all sides.</summary>
    private readonly int[] counts;

    private readonly int[] isAnswer;

    /// <summary>Assigns the conversations to windows.</summary>
    /// <param name="tokens">The tokens of all conversations.</param>
    /// <param name="answers">1 for each token of an answer, else 0.</param>
    /// <param name="ends">The ends of the conversations, each of at most block + 1 tokens.</param>
    /// <param name="block">Tokens per window.</param>
    /// <param name="packs">False: one conversation, or one pair, per window.</param>
    /// <param name="sides">2: the conversations are pairs; 1: they are not.</param>
    public ConversationWindows(TokenSequence tokens, TokenSequence answers, DocumentEnds ends, int block, bool packs, int sides = 1)
    {
        (this.tokens, this.answers, this.ends, this.block, this.sides) = (tokens, answers, ends, block, sides);
        isAnswer = new int[block + 1];
        var windows = new List<List<int>>();
        var rooms = new SortedSet<(int Room, int Window)>();
        foreach (int member in Enumerable.Range(0, (int)ends.Count / sides).OrderByDescending(Longest))
        {
            int length = Longest(member);
            (int Room, int Window) best = packs ? rooms.GetViewBetween((length, 0), (block, int.MaxValue)).Min : default;
            if (best.Room < length || !packs)
            {
                best = (block, windows.Count);
                windows.Add([]);
            }

            rooms.Remove(best);
            rooms.Add((best.Room - length, best.Window));
            windows[best.Window].Add(member);
        }

        members = [.. windows.SelectMany(window => window)];
        first = new int[windows.Count + 1];
        for (int i = 0; i < windows.Count; i++)
            first[i + 1] = first[i] + windows[i].Count;
        counts = [.. windows.Select(window => window.Sum(member => Enumerable.Range(member * sides, sides).Sum(Targets)))];
    }

    /// <summary>The number of windows.</summary>
    public int Count => counts.Length;

    /// <summary>The number of targets of a window.</summary>
    public int Targets(long window) => counts[window];

    /// <summary>The numbers of a window's conversations or pairs, in their order.</summary>
    public ReadOnlySpan<int> Members(long window) => members.AsSpan(first[window]..first[window + 1]);

    /// <summary>Fills a window. Allocates nothing.</summary>
    /// <param name="window">Its number.</param>
    /// <param name="inputs">block ids; padding is 0.</param>
    /// <param name="targets">block ids, or <see cref="SequentialWindows.Ignored"/> where the next token belongs to no answer.</param>
    /// <param name="documents">The number of each token's conversation in the window; padding is one of its own.</param>
    /// <param name="side">0: the conversations, or those that are chosen; 1: those that are rejected.</param>
    public void Fill(long window, Span<int> inputs, Span<int> targets, Span<int> documents, int side = 0)
    {
        int place = 0, number = 0;
        foreach (int member in Members(window))
        {
            int conversation = (member * sides) + side, length = Length(conversation);
            long start = Start(conversation);
            tokens.CopyTo(start, inputs.Slice(place, length));
            tokens.CopyTo(start + 1, targets.Slice(place, length));
            answers.CopyTo(start + 1, isAnswer.AsSpan(0, length));
            documents.Slice(place, length).Fill(number++);
            for (int j = 0; j < length; j++)
                targets[place + j] = isAnswer[j] == 1 ? targets[place + j] : SequentialWindows.Ignored;
            place += length;
        }

        inputs[place..block].Clear();
        targets[place..block].Fill(SequentialWindows.Ignored);
        documents[place..block].Fill(number);
    }

    private long Start(int conversation) => conversation == 0 ? 0 : ends.EndOf(conversation - 1);

    /// <summary>The places that a conversation, or the longer side of a pair, takes.</summary>
    private int Longest(int member) => Enumerable.Range(member * sides, sides).Max(Length);

    /// <summary>The tokens of a conversation that predict the next one.</summary>
    private int Length(int conversation) => (int)(ends.EndOf(conversation) - Start(conversation)) - 1;

    private int Targets(int conversation)
    {
        Span<int> marks = isAnswer.AsSpan(0, Length(conversation));
        answers.CopyTo(Start(conversation) + 1, marks);
        return marks.Count(1);
    }
}
