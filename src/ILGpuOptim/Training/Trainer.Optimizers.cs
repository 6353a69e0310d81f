using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

// What optimizers take from training: options that follow from the model and the batches, weights for evaluation, and gradients of drawn labels.
public sealed partial class Trainer
{
    /// <summary>True once the optimizer's weights for evaluation have replaced the trained ones.</summary>
    private bool keepsEvaluationWeights;

    /// <summary>The optimizer's settings, with options that follow from the model and the batches.</summary>
    private OptimizerSettings OwnSettings() => Settings.Optimizer
        .WithDefault("head_size", $"{Model.Config.HeadWidth}")
        .WithDefault("batch_tokens", $"{TokensPerStep}")
        .WithDefault("tied_embedding", Model.Config.TieWordEmbeddings ? "true" : "false");

    /// <summary>
    /// Puts the weights for validations, samples and saved models in the place of the trained ones until the result is disposed: their average, or those of the
    /// optimizer; null where they are the trained ones. All ranks call this together if the optimizer has such weights.
    /// </summary>
    internal IDisposable? UseEvaluationWeights()
    {
        exchange?.FinishParameters();
        if (average?.Use() is { } averaged)
            return averaged;
        IDisposable? weights = keepsEvaluationWeights ? null : Optimizer.EvaluationWeights();
        if (weights is null)
            return null;
        try
        {
            exchange?.Distribute();
            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>Replaces the trained weights by those for evaluation: training is over.</summary>
    internal void KeepEvaluationWeights()
    {
        average?.Apply();
        if (!Optimizer.HasEvaluationWeights || keepsEvaluationWeights)
            return;
        float[][] values;
        using (UseEvaluationWeights())
            values = [.. trained.Select(parameter => parameter.ToArray())];
        foreach ((int i, Parameter parameter) in trained.Index())
            parameter.Load(values[i]);
        keepsEvaluationWeights = true;
    }

    /// <summary>Every so many steps, after the update, the optimizer's estimate of the curvature.</summary>
    private void EstimateCurvature()
    {
        if (Optimizer is ICurvatureOptimizer curvature && (StepNumber + 1) % curvature.CurvatureInterval == 0)
            EstimateCurvature(curvature);
    }

    /// <summary>
    /// Estimates the curvature from the step's own inputs, with labels that are drawn from the model's predictions wherever the data has a label. Dropout is off.
    /// The draws depend on the seed, the step and the position. Gradients are summed over the shards, and sent to the owners, as those of a step.
    /// </summary>
    internal void EstimateCurvature(ICurvatureOptimizer curvature)
    {
        Tape.Gradients.Clear();
        Action<Parameter>? update = Tape.GradientReady;
        Tape.GradientReady = null;
        try
        {
            Tape.IsTraining = false;
            ulong first = (ulong)StepNumber * (ulong)BatchesPerStep;
            ulong batch = first + ((ulong)FirstShard * (ulong)Settings.Accumulate);
            for (int own = 0; own < localShards; own++)
            {
                for (int i = 0; i < Settings.Accumulate; i++, batch++)
                {
                    batches.FillTraining(batch);
                    Tape.IsRecording = false;
                    DrawLabels(Model.Logits(Tape, batches.Tokens), batches.Targets, batch);
                    Tape.Reset();
                    Tape.IsRecording = true;
                    Tape.Backward(Model.Loss(Tape, batches.Tokens, batches.Targets, batches.TrainingWeight(first, BatchesPerStep, batch)));
                    Tape.Reset();
                }

                foreach (Parameter parameter in trained)
                    sums?.Add(Tape.Gradients, parameter, own);
            }

            exchange?.FinishGradients();
            curvature.UpdateCurvature(Tape.Gradients);
        }
        finally
        {
            Tape.GradientReady = update;
            Tape.IsTraining = Tape.IsRecording = true;
            if (Settings.Layerwise)
                Tape.Gradients.Release();
            else
                Tape.Gradients.Clear();
        }
    }

    /// <summary>Replaces each label by one that is drawn from a row of logits.</summary>
    private void DrawLabels(Tensor logits, int[] targets, ulong batch)
    {
        const int Chunk = 1 << 22;
        int vocabulary = logits.Shape[^1], rows = Math.Max(1, Chunk / vocabulary);
        var values = new float[Math.Min(rows, targets.Length) * vocabulary];
        for (int start = 0; start < targets.Length; start += rows)
        {
            int first = start, count = Math.Min(rows, targets.Length - start);
            Device.Download(logits.Data.Slice((long)first * vocabulary, (long)count * vocabulary), values.AsSpan(0, count * vocabulary));
            Device.ForEachOnHost(count, row =>
            {
                if (targets[first + row] != SequentialWindows.Ignored)
                    targets[first + row] = Draw(values.AsSpan(row * vocabulary, vocabulary), Philox.Unit(Philox.Generate(Settings.Seed ^ 0x5851F42D4C957F2D, batch, (ulong)(first + row)).A));
            });
        }
    }

    /// <summary>The token at which the cumulative probability passes a number from 0 to 1. Overwrites the logits.</summary>
    private static int Draw(Span<float> logits, double uniform)
    {
        float largest = float.NegativeInfinity;
        foreach (float logit in logits)
            largest = Math.Max(largest, logit);
        double total = 0;
        for (int i = 0; i < logits.Length; i++)
            total += logits[i] = MathF.Exp(logits[i] - largest);
        double left = uniform * total;
        int token = 0;
        for (; token < logits.Length - 1; token++)
        {
            left -= logits[token];
            if (left < 0)
                break;
        }

        return token;
    }
}
