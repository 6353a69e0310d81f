using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>sample</c>: generates text.</summary>
internal static class SampleCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source") { Description = "run, checkpoint, or folder with config.json and model.safetensors" };
        var prompts = new Option<string[]>("--prompt") { Description = "prompt; for T5 the encoder's input, with <extra_id_0>, … in place of missing spans. - reads standard input; may be repeated" };
        var promptIds = new Option<string[]>("--prompt-ids") { Description = "prompt as token ids, such as 1,2,3; may be repeated" };
        Option<int> tokens = Flag.Of("--tokens", "maximum number of tokens to generate", 300, new RangeAttribute(0, 1 << 30));
        Option<int> count = Flag.Of("--count", "number of texts per prompt, generated in one batch", 1, new RangeAttribute(1, 1 << 16));
        var stops = new Option<string[]>("--stop") { Description = "end the text before this string; may be repeated" };
        var ignoreEnd = new Option<bool>("--ignore-end") { Description = "continue after the model's end-of-text token" };
        var sampling = new SamplingFlags();
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        Option<WeightChoice> weights = CommonOptions.Weights();
        var command = new Command("sample", "Generate text with a trained model: the continuation of a prompt, or the output of a T5.") { source, prompts, promptIds, tokens, count, stops, ignoreEnd, device, threads, json, weights };
        foreach (Option option in sampling.All)
            command.Options.Add(option);
        command.SetAction(result =>
        {
            bool asJson = result.GetValue(json);
            SamplingOptions options = sampling.Read(result) with { LogProbabilities = asJson };
            int most = result.GetValue(tokens), copies = result.GetValue(count);
            using ModelSource found = ModelSource.Open(result.GetRequiredValue(source), result.GetValue(weights));
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
            if ((long)texts.Count * copies * most > MaxTokens)
                throw new UserException($"--tokens {most} with --count {copies}: {texts.Count * (long)copies} texts of {most} tokens are above the limit of {MaxTokens:N0} tokens together");
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            using LanguageModel model = ModelFiles.Load(folder, target);
            texts = [.. texts.SelectMany(text => Enumerable.Repeat(text, copies))];
            using GenerationBatch batch = new TextGenerator(model, target).Start([.. texts.Select(text => text.Ids)], most, options);
            CommonOptions.NoteUnused(model, folder);
            if (generation.NotApplied.Count > 0)
                Console.Error.WriteLine($"note: {Path.Combine(folder, GenerationConfig.FileName)} has {string.Join(", ", generation.NotApplied)}, which sample does not apply; use its flags instead");
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

    /// <summary>The limit of the total number of tokens of all texts: a gigabyte of ids.</summary>
    private const long MaxTokens = 1 << 28;
}
