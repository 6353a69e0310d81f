namespace ILGpuOptim.Tasks;

/// <summary>A fraction of correct answers with its uncertainty.</summary>
/// <param name="Mean">The fraction.</param>
/// <param name="StandardError">The sample standard deviation over the square root of the number of questions; null for a single question.</param>
public sealed record Score(double Mean, double? StandardError)
{
    /// <summary>The score of answers.</summary>
    internal static Score Of(IReadOnlyList<bool> correct)
    {
        double n = correct.Count, mean = correct.Count(isCorrect => isCorrect) / n;
        return new Score(mean, n > 1 ? Math.Sqrt(mean * (1 - mean) / (n - 1)) : null);
    }
}

/// <summary>What a model predicted for a question.</summary>
/// <param name="Place">The file and the record.</param>
/// <param name="LogProbabilities">The log-probability of each choice, in nats; empty for generated answers.</param>
/// <param name="Lengths">The length of each choice.</param>
/// <param name="Prediction">The index of the most probable choice; null for other tasks.</param>
/// <param name="NormalizedPrediction">The index of the choice with the largest log-probability per length; null for other tasks.</param>
/// <param name="Text">The generated answer; null for other tasks.</param>
/// <param name="Answer">The index of the correct choice.</param>
public sealed record TaskPrediction(string Place, IReadOnlyList<double> LogProbabilities, IReadOnlyList<int> Lengths, int? Prediction, int? NormalizedPrediction, string? Text, int Answer)
{
    /// <summary>True if the prediction is the answer.</summary>
    public bool IsCorrect { get; init; }
}

/// <summary>The result of a task.</summary>
public sealed class TaskResult
{
    internal TaskResult(EvaluationTask task, IReadOnlyList<TaskPrediction> predictions)
    {
        (Task, Predictions) = (task, predictions);
        Accuracy = Score.Of([.. predictions.Select(item => item.IsCorrect)]);
        if (task.Kind == TaskKind.Choice)
            NormalizedAccuracy = Score.Of([.. predictions.Select(item => item.NormalizedPrediction == item.Answer)]);
        if (task.Kind == TaskKind.Continuation)
            Perplexity = Math.Exp(-predictions.Average(item => item.LogProbabilities[0]));
    }

    /// <summary>The task.</summary>
    public EvaluationTask Task { get; }

    /// <summary>The predictions, question by question.</summary>
    public IReadOnlyList<TaskPrediction> Predictions { get; }

    /// <summary>
    /// Multiple choice: the fraction of questions whose answer has the largest log-probability (<c>acc</c>). Continuations: the fraction of which every token is
    /// the most probable one. Generation: the fraction of answers that are equal to an accepted one.
    /// </summary>
    public Score Accuracy { get; }

    /// <summary>The accuracy of the largest log-probability per length (<c>acc_norm</c>); null for tasks without choices.</summary>
    public Score? NormalizedAccuracy { get; }

    /// <summary>The unit of lengths; null for tasks without choices.</summary>
    public LengthUnit? Norm { get; internal init; }

    /// <summary>The exponential of the mean negative log-probability of a continuation; null for other tasks.</summary>
    public double? Perplexity { get; }

    /// <summary>The number of contexts that were cut at their beginning because the model has too few positions.</summary>
    public int Cut { get; internal init; }
}
