using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Shows texts: a single one as it grows, several one after the other when they are done.</summary>
internal sealed class SampleOutput
{
    private readonly IReadOnlyList<int> endTokens;
    private readonly bool json;
    private readonly Sample[] samples;

    public SampleOutput(IReadOnlyList<Prompt> prompts, ITokenizer? tokenizer, IReadOnlyList<string> stops, IReadOnlyList<int> endTokens, bool json)
    {
        (this.endTokens, this.json) = (endTokens, json);
        samples = [.. prompts.Select(prompt => new Sample(prompt, tokenizer is null ? null : new TextStream(tokenizer, prompt.Ids, stops)))];
    }

    private bool Streams => !json && samples.Length == 1;

    /// <summary>Shows the prompt of a single text.</summary>
    public void Begin()
    {
        if (Streams)
            Terminal.WriteText(samples[0].Prompt.Text ?? string.Join(',', samples[0].Prompt.Ids));
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

        string text = sample.Stream?.Append(token.Id) ?? $",{token.Id}";
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
                Terminal.WriteText((sample.Prompt.Text ?? string.Join(',', sample.Prompt.Ids)) + sample.Text + Environment.NewLine);
            }
        }
    }

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
