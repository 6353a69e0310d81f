using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

// Text that the model generates during training, and after it.
public sealed partial class TrainingRun
{
    /// <summary>Called with the step and the text of each sample (<see cref="TrainingSettings.SampleInterval"/>).</summary>
    public Action<long, string>? Sampled { get; set; }

    /// <summary>
    /// Continues the first token of the training data, or its first question, with the current parameters, or their average, and records the text. The same
    /// parameters give the same text. With ranks and <see cref="Optim.Optimizer.HasEvaluationWeights"/>, all ranks call this together.
    /// </summary>
    /// <param name="tokens">The number of tokens to generate.</param>
    /// <returns>The text; null if the model generates none, has adapters, or the data has no tokenizer; and on other ranks than the first.</returns>
    /// <exception cref="UserException">The text cannot be written to the run's metrics.</exception>
    public string? Sample(int tokens = 300)
    {
        if (ReasonForNoSample(Trainer.Model, Data) is not null || !(Writes(Trainer.Communicator) || Trainer.Optimizer.HasEvaluationWeights))
            return null;
        Trainer.Settle();
        using IDisposable? evaluated = Trainer.UseEvaluationWeights();
        if (!Writes(Trainer.Communicator))
            return null;
        int[] prompt = Data.ChatTemplate is { } template ? Data.Tokenizer!.Encode(template.Render(Data.FirstQuestion, addsGenerationPrompt: true)) : Data.Training.Slice(0, 1).ToArray();
        var generator = new TextGenerator(Trainer.Model, Trainer.Device);
        string sample = Data.Tokenizer!.Decode([.. prompt, .. generator.Continue(prompt, tokens, new SamplingOptions { Seed = Settings.Seed })]);
        int asked = Data.Tokenizer.Decode(prompt).Length;
        if (Data.ChatTemplate?.TurnEnd is { } end && asked <= sample.Length && sample.IndexOf(end, asked, StringComparison.Ordinal) is >= 0 and var found)
            sample = sample[..(found + end.Length)];
        if (recorder is not null)
            Report(() => Record(recorder));
        else
        {
            using var own = new RunRecorder(Folder, Trainer);
            Record(own);
        }

        recorder?.Restart();
        return sample;

        void Record(RunRecorder target)
        {
            target.Sampled(sample);
            Sampled?.Invoke(Trainer.StepNumber, sample);
        }
    }

    /// <summary>Merges adapters, or their average, into the weights, as loading the last checkpoint does: training is over.</summary>
    internal void MergeAdapters()
    {
        if (Trainer.Model.Adapters.Count == 0)
            return;
        Trainer.KeepEvaluationWeights();
        Trainer.Model.MergeAdapters();
    }

    /// <summary>Why no sample can be drawn; null if one can.</summary>
    private static string? ReasonForNoSample(LanguageModel model, Dataset data) =>
        !model.WritesText || model.HasEncoder ? $"{model.Config.Family} does not continue a text"
        : data.Tokenizer is null ? "the data has no tokenizer, so there is no text"
        : model.Adapters.Count > 0 && !model.KeepsAdapters ? "adapters are merged into the weights only after training"
        : null;
}
