using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>sample</c>: text from a trained model.</summary>
internal static class SampleCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "a run, a checkpoint, or a folder with config.json and model.safetensors" };
        var prompts = new Option<string[]>("--prompt") { Description = "what the text begins with, or what a T5 reads, with <extra_id_0>, … where something is missing; - reads it from standard input; repeat it for several texts at once" };
        var promptIds = new Option<string[]>("--prompt-ids") { Description = "token ids instead of text, such as 1,2,3; may be repeated" };
        Option<int> tokens = Flag.Of("--tokens", "the most tokens to add", 300, new RangeAttribute(0, 1 << 30));
        Option<int> count = Flag.Of("--count", "how many texts for each prompt, all in one batch", 1, new RangeAttribute(1, 1 << 16));
        var stops = new Option<string[]>("--stop") { Description = "the text ends before this string; may be repeated" };
        var ignoreEnd = new Option<bool>("--ignore-end") { Description = "go on after the model's end of text" };
        var drawing = new SamplingFlags();
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("sample", "Write text with a trained model: what follows a prompt, or a T5's answer to it.") { source, prompts, promptIds, tokens, count, stops, ignoreEnd, device, threads, json };
        foreach (Option option in drawing.All)
            command.Options.Add(option);
        command.SetAction(result =>
        {
            bool asJson = result.GetValue(json);
            SamplingOptions options = drawing.Read(result) with { LogProbabilities = asJson };
            int most = result.GetValue(tokens), copies = result.GetValue(count);
            using ModelSource found = ModelSource.Open(result.GetRequiredValue(source));
            string folder = found.Folder;
            GenerationConfig generation = GenerationConfig.Of(folder);
            SpanTokens? spans = ModelConfig.Load(Path.Combine(ModelFiles.ConfigFolder(folder), ModelFiles.Config)).SpanTokens;
            ITokenizer? tokenizer = Tokenizers.Load(folder);
            if (tokenizer is not null && spans is { Sentinels.Count: > 0 } && tokenizer.IdOf(SentinelTokenizer.TextOf(0)) is null)
                tokenizer = new SentinelTokenizer(tokenizer, spans.Sentinels);
            List<Prompt> texts = Prompt.Read(result.GetValue(prompts) ?? [], result.GetValue(promptIds) ?? [], tokenizer, folder, spans?.End);
            string[] ends = result.GetValue(stops) ?? [];
            if (tokenizer is null && ends.Length > 0)
                throw new UserException($"{folder}: --stop needs a tokenizer beside the model, and there is none");
            if ((long)texts.Count * copies * most > MostTokens)
                throw new UserException($"--tokens {most} with --count {copies}: {texts.Count * (long)copies} texts of {most} tokens are above the limit of {MostTokens:N0} tokens together");
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using LanguageModel model = ModelFiles.Load(folder, target);
            texts = [.. texts.SelectMany(text => Enumerable.Repeat(text, copies))];
            using GenerationBatch batch = new TextGenerator(model, target).Start([.. texts.Select(text => text.Ids)], most, options);
            CommonOptions.NoteUnused(model, folder);
            if (generation.NotApplied.Count > 0)
                Console.Error.WriteLine($"note: {Path.Combine(folder, GenerationConfig.FileName)} has {string.Join(", ", generation.NotApplied)}, which sample does not apply; its flags say how tokens are drawn");
            IReadOnlyList<int> last = generation.EndTokens is [] && spans?.End is { } end ? [end] : generation.EndTokens;
            var output = new SampleOutput(texts, tokenizer, ends, result.GetValue(ignoreEnd) ? [] : last, asJson, answers: model.HasEncoder);
            output.Begin();
            while (!batch.IsFinished)
            {
                batch.Advance();
                foreach (GeneratedToken token in batch.Drawn)
                {
                    if (!output.Take(token))
                        batch.End(token.Sample);
                }
            }

            output.Finish();
        });
        return command;
    }

    /// <summary>The most tokens of all texts together: a gigabyte of ids.</summary>
    private const long MostTokens = 1 << 28;

    /// <summary>The flags that say how tokens are drawn.</summary>
    private sealed class SamplingFlags
    {
        private static readonly SamplingOptions Defaults = new();

        private readonly Option<double> temperature = Flag.For<double>("--temperature", "0 takes the likeliest token each time", Defaults, nameof(Defaults.Temperature));
        private readonly Option<int> topK = Flag.For<int>("--top-k", "draw among so many likeliest tokens; 0 among all", Defaults, nameof(Defaults.TopK));
        private readonly Option<double> topP = Flag.For<double>("--top-p", "draw among the likeliest tokens that together have this probability", Defaults, nameof(Defaults.TopP));
        private readonly Option<double> minP = Flag.For<double>("--min-p", "draw among tokens at least this share as likely as the likeliest", Defaults, nameof(Defaults.MinP));
        private readonly Option<double> penalty = Flag.For<double>("--repetition-penalty", "above 1 makes tokens that were there before less likely", Defaults, nameof(Defaults.RepetitionPenalty));
        private readonly Option<ulong> seed = Flag.For<ulong>("--seed", "repeats the same text", Defaults, nameof(Defaults.Seed));

        public IEnumerable<Option> All => [temperature, topK, topP, minP, penalty, seed];

        public SamplingOptions Read(ParseResult result) => new()
        {
            Temperature = result.GetValue(temperature),
            TopK = result.GetValue(topK),
            TopP = result.GetValue(topP),
            MinP = result.GetValue(minP),
            RepetitionPenalty = result.GetValue(penalty),
            Seed = result.GetValue(seed),
        };
    }
}
