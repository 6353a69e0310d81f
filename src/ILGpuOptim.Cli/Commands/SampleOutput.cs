using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Prints texts: a single one while it is generated, several in order when they are finished.</summary>
internal sealed class SampleOutput
{
    private readonly IReadOnlyList<int> endTokens;
    private readonly bool json, answers;
    private readonly Sample[] samples;

    /// <param name="prompts">The prompt of each text.</param>
    /// <param name="tokenizer">Decodes tokens; null prints ids.</param>
    /// <param name="stops">Stop strings: a text ends before them.</param>
    /// <param name="endTokens">Ids of end tokens.</param>
    /// <param name="json">True: prints JSON.</param>
    /// <param name="answers">True: texts are answers, printed without their prompts. False: texts continue their prompts.</param>
    public SampleOutput(IReadOnlyList<Prompt> prompts, ITokenizer? tokenizer, IReadOnlyList<string> stops, IReadOnlyList<int> endTokens, bool json, bool answers)
    {
        (this.endTokens, this.json, this.answers) = (endTokens, json, answers);
        samples = [.. prompts.Select(prompt => new Sample(prompt, tokenizer is null ? null : new TextStream(tokenizer, answers ? [] : prompt.Ids, stops)))];
    }

    private bool Streams => !json && samples.Length == 1;

    /// <summary>Prints the prompt of a single text.</summary>
    public void Begin()
    {
        if (Streams)
            Terminal.WriteText(Beginning(samples[0]));
    }

    /// <summary>Adds a token; returns false if its text ends with it.</summary>
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

    /// <summary>Prints the text that was held back, or all texts if there are several.</summary>
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

    /// <summary>The prompt to print before a text.</summary>
    private string Beginning(Sample sample) => answers ? "" : sample.Prompt.Text ?? string.Join(',', sample.Prompt.Ids);

    private sealed class Sample(Prompt prompt, TextStream? stream)
    {
        public Prompt Prompt { get; } = prompt;

        public TextStream? Stream { get; } = stream;

        public List<int> Ids { get; } = [];

        public List<double> LogProbabilities { get; } = [];

        public StringBuilder Text { get; } = new();

        /// <summary>The reason for its end: <c>length</c>, <c>stop</c> or <c>end</c>.</summary>
        public string Finish { get; set; } = "length";
    }
}
