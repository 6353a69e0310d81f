using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Models;

namespace ILGpuOptim.Generation;

/// <summary>Several texts that grow together, a token each at a time.</summary>
public sealed class GenerationBatch : IDisposable
{
    private readonly Decoder decoder;
    private readonly Sampler sampler;
    private readonly int vocabulary, positions, count;
    private readonly Text[] texts;
    private readonly float[] logits;
    private readonly int[] next;
    private readonly bool isKept;
    private readonly GeneratedToken[] drawn;
    private int place;

    internal GenerationBatch(LanguageModel model, Device device, IReadOnlyList<IReadOnlyList<int>> prompts, int count, SamplingOptions options, Decoder? kept = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfZero(prompts.Count);
        this.count = count;
        sampler = new Sampler(options);
        (vocabulary, positions) = (model.Config.VocabularySize, model.Config.ContextLength);
        texts = new Text[prompts.Count];
        for (int i = 0; i < texts.Length; i++)
        {
            IReadOnlyList<int> prompt = Checked(prompts[i]);
            texts[i] = new Text(model.HasEncoder ? [model.StartToken] : prompt, count, vocabulary, sampler.ReadsSeen);
        }

        next = new int[texts.Length];
        drawn = new GeneratedToken[texts.Length];
        logits = new float[checked(texts.Length * vocabulary)];
        int longest = texts.Max(text => text.Ids.Count);
        isKept = kept is not null;
        decoder = kept ?? Decoder.Create(model, device, texts.Length, (int)Math.Min((long)longest + Math.Max(count, 1) - 1, positions), model.HasEncoder ? prompts.Max(prompt => prompt.Count) : 0);
        for (int i = 0; model.HasEncoder && i < texts.Length; i++)
            decoder.Encode(i, [.. prompts[i]]);
    }

    /// <summary>The tokens of the last draw, one for each text that has not ended.</summary>
    public ReadOnlySpan<GeneratedToken> Drawn => drawn.AsSpan(0, DrawnCount);

    /// <summary>True if every text has ended or has its maximum length.</summary>
    public bool IsFinished => place == count || Array.TrueForAll(texts, static text => text.HasEnded);

    private int DrawnCount { get; set; }

    /// <summary>No more tokens are drawn for a text.</summary>
    public void End(int sample) => texts[sample].HasEnded = true;

    /// <summary>Draws a token for each text that has not ended.</summary>
    /// <exception cref="UserException">The model's logits contain NaN.</exception>
    /// <exception cref="InvalidOperationException">The texts are as long as they may be.</exception>
    public void Advance()
    {
        if (place == count)
            throw new InvalidOperationException($"all {count} tokens have been drawn");
        Read();
        decoder.Logits(logits);
        DrawnCount = 0;
        for (int i = 0; i < texts.Length; i++)
        {
            Text text = texts[i];
            if (text.HasEnded)
            {
                // A step computes all texts of the batch; the result of a finished text is not used.
                text.Add(next[i]);
                continue;
            }

            (int id, double logProbability) = sampler.Next(logits.AsSpan(i * vocabulary, vocabulary), text.Seen, i, place);
            text.Add(id);
            drawn[DrawnCount++] = new GeneratedToken(i, id, logProbability);
        }

        place++;
    }

    /// <summary>Shows the model what it has not seen: the last token of each text, or all of their windows when one has moved.</summary>
    private void Read()
    {
        bool moves = place == 0;
        foreach (Text text in texts)
            moves |= text.Move(positions);
        if (!moves)
        {
            for (int i = 0; i < texts.Length; i++)
                next[i] = texts[i].Ids[^1];
            decoder.Step(next);
            return;
        }

        if (isKept)
        {
            decoder.Resume(texts[0].Window);
            return;
        }

        int longest = 0;
        foreach (Text text in texts)
            longest = Math.Max(longest, text.Window.Length);
        decoder.Begin(longest);
        for (int i = 0; i < texts.Length; i++)
        {
            if (i > 0 && texts[i].Window.SequenceEqual(texts[i - 1].Window))
                decoder.Copy(i - 1, i);
            else
                decoder.Prefill(i, texts[i].Window);
        }
    }

    private IReadOnlyList<int> Checked(IReadOnlyList<int> prompt)
    {
        if (prompt.Count == 0)
            throw new UserException("an empty prompt gives the model nothing to go on; give at least one character");
        foreach (int id in prompt)
        {
            if ((uint)id >= (uint)vocabulary)
                throw new UserException($"the prompt has token {id}, but the model's vocabulary ends at {vocabulary - 1}");
        }

        return prompt;
    }

    /// <summary>Gives the memory back.</summary>
    public void Dispose()
    {
        if (!isKept)
            decoder.Dispose();
    }

    private sealed class Text
    {
        private readonly bool[]? isSeen;
        private readonly List<int> seen;
        private int start = -1;

        public Text(IReadOnlyList<int> prompt, int count, int vocabulary, bool remembers)
        {
            Ids = new List<int>(prompt.Count + count);
            seen = new List<int>(remembers ? Math.Min(vocabulary, prompt.Count + count) : 0);
            isSeen = remembers ? new bool[vocabulary] : null;
            foreach (int id in prompt)
                Add(id);
        }

        public List<int> Ids { get; }

        public bool HasEnded { get; set; }

        public ReadOnlySpan<int> Seen => CollectionsMarshal.AsSpan(seen);

        public ReadOnlySpan<int> Window => CollectionsMarshal.AsSpan(Ids)[start..];

        public void Add(int id)
        {
            Ids.Add(id);
            if (isSeen is null || isSeen[id])
                return;
            isSeen[id] = true;
            seen.Add(id);
        }

        /// <summary>Moves the window; says whether it begins elsewhere now.</summary>
        public bool Move(int positions)
        {
            int before = start;
            start = ContextWindow.Start(Ids.Count, positions);
            return start != before;
        }
    }
}
