using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

// Which settings a model can use, notes on those that are reduced, and what is wrong with a step that diverged.
public sealed partial class Trainer
{
    /// <summary>Token masking for masked language models; null for causal models.</summary>
    /// <exception cref="UserException">The model's configuration does not name the mask token.</exception>
    internal static TokenMasking? MaskingOf(LanguageModel model, TrainingSettings settings) => model.IsCausal
        ? null
        : new TokenMasking(MaskOf(model), model.Config.VocabularySize, settings.Block, settings.MaskedFraction, settings.Seed);

    /// <summary>The id of a masked language model's mask token.</summary>
    /// <exception cref="UserException">The model's configuration does not name it.</exception>
    internal static int MaskOf(LanguageModel model) => model.Config.MaskToken
        ?? throw new UserException("the model's config.json has no mask_token_id, so tokens cannot be masked; add it (the line of [MASK] in vocab.txt, counted from 0)");

    /// <summary>Refuses settings that the model would ignore. Runs store every setting, so default values are accepted.</summary>
    private static void CheckUsed(TrainingSettings settings, LanguageModel model, Dataset data)
    {
        var defaults = new TrainingSettings();
        if (model.IsCausal && !model.HasEncoder && settings.MaskedFraction != defaults.MaskedFraction)
            throw UserException.NamingSettings($"{nameof(settings.MaskedFraction):setting} {settings.MaskedFraction}: {model.Config.Family} predicts each next token, so none is masked; leave it at {defaults.MaskedFraction}");
        if (!model.HasEncoder && settings.MeanSpan != defaults.MeanSpan)
            throw UserException.NamingSettings($"{nameof(settings.MeanSpan):setting} {settings.MeanSpan}: {model.Config.Family} does not predict spans; leave it at {defaults.MeanSpan}");
        if (!data.HasPairs && settings.Dpo != defaults.Dpo)
            throw UserException.NamingSettings($"{nameof(settings.Dpo):setting}: {data.Source} holds no pairs of answers; give JSON lines with prompt, chosen and rejected, or leave it out");
    }

    private static IEnumerable<string> NotesOn(Device device, TrainingSettings settings, LanguageModel model, Optimizer optimizer)
    {
        if (settings.Precision == Precision.TF32 && !device.HasTensorCores)
            yield return $"{device.Name} has no units for tf32, so products and attention are computed in f32";
        if (model.HasEncoder && model.Config.SpanTokens is { Sentinels.Count: 0 })
            yield return "neither config.json nor the tokenizer names sentinel tokens, so the last ids of the vocabulary are used as sentinels; to use others, add sentinel_token_ids to config.json";
        if (settings.Warmup > settings.Steps)
            yield return $"warm-up of {settings.Warmup} steps is longer than the run; it is shortened to {settings.Steps}";
        if (settings.Lora is { } lora && model.Adapters.Count > 0 && model.Adapters[0].Options.Rank < lora.Rank)
            yield return $"LoRA rank {lora.Rank} exceeds the short side of every adapted matrix; it is reduced to {model.Adapters[0].Options.Rank}";
        foreach ((string name, string value) in settings.Optimizer.Options)
        {
            if (name is "warmup_steps" or "alpha_warmup" or "beta3_warmup" && int.Parse(value, CultureInfo.InvariantCulture) > settings.Steps)
                yield return $"{name} {value} is longer than the run of {settings.Steps} steps, which ends within it";
        }

        foreach (string note in ReducedRanks(settings, optimizer))
            yield return note;
    }

    /// <summary>A note for each short side that is below the rank of the settings.</summary>
    internal static IEnumerable<string> ReducedRanks(TrainingSettings settings, Optimizer optimizer)
    {
        int? rank = Registry.Find(settings.Optimizer.Name).OptionsFor(settings.Optimizer) switch { LowRankOptions low => low.Rank, DionOptions { Rank: > 0 } dion => dion.Rank, _ => null };
        IEnumerable<ParameterState> chosen = optimizer.States.Where(state => state.Options is LowRankOptions { Rank: not null } or DionOptions { Orthogonalises: true } && Projection.MaximumRank(state.Parameter.Shape) < rank);
        foreach (var cut in chosen.GroupBy(state => Projection.MaximumRank(state.Parameter.Shape)))
            yield return $"rank {rank} exceeds the short side of {cut.Count()} {(cut.Count() == 1 ? "matrix" : "matrices")}, such as {cut.First().Parameter.Name}; it is reduced to {cut.Key}";
    }

    private string Describe(float loss)
    {
        string? broken = trained.FirstOrDefault(parameter => !AllFinite(parameter.ToArray()))?.Name
            ?? (trained.FirstOrDefault(parameter => Tape.Gradients.Has(parameter) && !AllFinite(Downloaded(Tape.Gradients[parameter]))) is { } source ? $"the gradient of {source.Name}" : null);
        return broken is null
            ? $"step {StepNumber + 1}: the loss is {loss} although every parameter is finite; lower the learning rate, warm up longer or clip harder"
            : $"step {StepNumber + 1}: the loss is {loss}, and {broken} is not finite; lower the learning rate, warm up longer or clip harder, and continue from the last checkpoint";
    }

    private static bool AllFinite(float[] values) => Array.TrueForAll(values, float.IsFinite);
}
