using System.Runtime.InteropServices;
using ILGpuOptim.Data;
using ILGpuOptim.Files;

namespace ILGpuOptim.Training;

/// <summary>The log-probabilities of the answers of pairs by the reference model, in nats: of each chosen answer, and after it of the rejected one.</summary>
/// <param name="Training">Those of the training data.</param>
/// <param name="Validation">Those of the validation data.</param>
internal sealed record ReferenceScores(float[] Training, float[] Validation)
{
    /// <summary>The file within a run folder.</summary>
    public const string FileName = "reference.safetensors";

    private const string TrainingName = "training", ValidationName = "validation";

    /// <summary>The scores of one of the two.</summary>
    public float[] Of(bool onTraining) => onTraining ? Training : Validation;

    /// <summary>Writes the file of a run.</summary>
    public void Save(string folder)
    {
        using var writer = new SafetensorsWriter(Path.Combine(folder, FileName), [(TrainingName, "F32", [Training.Length]), (ValidationName, "F32", [Validation.Length])]);
        writer.Write(TrainingName, MemoryMarshal.AsBytes<float>(Training));
        writer.Write(ValidationName, MemoryMarshal.AsBytes<float>(Validation));
        writer.Finish();
    }

    /// <summary>Reads the file of a run; null if there is none.</summary>
    /// <exception cref="UserException">It is damaged, or of other data.</exception>
    public static ReferenceScores? Load(string folder, Dataset data)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
            return null;
        using var file = Safetensors.Open(path);
        var scores = new ReferenceScores(file.ReadF32(TrainingName), file.ReadF32(ValidationName));
        (long training, long validation) = (data.TrainingDocuments!.Count, data.ValidationDocuments!.Count);
        return scores.Training.Length == training && scores.Validation.Length == validation ? scores
            : throw new UserException($"{path}: it holds the log-probabilities of {scores.Training.Length} and {scores.Validation.Length} answers, but the data has {training} and {validation}; a run on pairs keeps its data, so begin a new run");
    }
}
