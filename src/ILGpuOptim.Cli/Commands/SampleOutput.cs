using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Shows texts: a single one as it grows, several one after the other when they are done.</summary>
internal sealed class SampleOutput
{
    private readonly IReadOnlyList<int> endTokens;
    private readonly bool json, answers;
    private readonly Sample[] samples;

    /// <param name="prompts">The prompt of each text.</param>
    /// <param name="tokenizer">Makes text of tokens; null shows ids.</param>
    /// <param name="stops">A text ends before one of these.</param>
    /// <param name="endTokens">A text ends with one of these.</param>
    /// <param name="json">Whether texts are shown as JSON.</param>
    /// <param name="answers">Whether a text answers its prompt, which then is not shown before it, instead of going on with it.</param>
    public SampleOutput(IReadOnlyList<Prompt> prompts, ITokenizer? tokenizer, IReadOnlyList<string> stops, IReadOnlyList<int> endTokens, bool json, bool answers)
    {
        (this.endTokens, this.json, this.answers) = (endTokens, json, answers);
        samples = [.. prompts.Select(prompt => new Sample(prompt, tokenizer is null ? null : new TextStream(tokenizer, answers ? [] : prompt.Ids, stops)))];
    }

    private bool Streams => !json && samples.Length == 1;

    /// <summary>Shows the prompt of a single text.</summary>
    public void Begin()
    {
        if (Streams)
            Terminal.WriteText(Beginning(samples[0]));
    }

    /// <summary>Takes a token; false when its text ends with it.</summary>
    public bool Take(GeneratedToken token)
    {
        Sample sample = samples[token.Sample];
        sample.Ids.Add(token.Id);
        sample.LogProbabilities.Add(token.LogProbability);
        if (endTokens.Contains(token.Id))
        {
            sample.Finish = "end";
            return false;
        }

        string text = sample.Stream?.Append(token.Id) ?? $"{(answers && sample.Ids.Count == 1 ? "" : ",")}{token.Id}";
        sample.Text.Append(text);
        if (Streams)
            Terminal.WriteText(text);
        if (sample.Stream is not { Stopped: true })
            return true;
        sample.Finish = "stop";
        return false;
    }

    /// <summary>Shows what was held back, or all of several texts.</summary>
    public void Finish()
    {
        for (int i = 0; i < samples.Length; i++)
        {
            Sample sample = samples[i];
            string rest = sample.Stream?.Finish() ?? "";
            sample.Text.Append(rest);
            if (Streams)
            {
                Terminal.WriteText(rest + Environment.NewLine);
            }
            else if (json)
            {
                CommonOptions.PrintJson(new
                {
                    Sample = i,
                    Prompt = sample.Prompt.Text,
                    PromptIds = sample.Prompt.Ids,
                    sample.Ids,
                    sample.LogProbabilities,
                    Text = sample.Stream is null ? null : sample.Text.ToString(),
                    sample.Finish,
                });
            }
            else
            {
                Console.WriteLine($"--- {i + 1} of {samples.Length}");
                Terminal.WriteText(Beginning(sample) + sample.Text + Environment.NewLine);
            }
        }
    }

    /// <summary>What is shown before a text.</summary>
    private string Beginning(Sample sample) => answers ? "" : sample.Prompt.Text ?? string.Join(',', sample.Prompt.Ids);

    private sealed class Sample(Prompt prompt, TextStream? stream)
    {
        public Prompt Prompt { get; } = prompt;

        public TextStream? Stream { get; } = stream;

        public List<int> Ids { get; } = [];

        public List<double> LogProbabilities { get; } = [];

        public StringBuilder Text { get; } = new();

        /// <summary>Why it ended: <c>length</c>, <c>stop</c> or <c>end</c>.</summary>
        public string Finish { get; set; } = "length";
    }
}
