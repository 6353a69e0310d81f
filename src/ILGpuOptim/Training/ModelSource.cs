namespace ILGpuOptim.Training;

/// <summary>
/// The folder of a model to read: a folder in Hugging Face's layout, a checkpoint, or the newest checkpoint of a run. A run that is training does
/// not remove that checkpoint until this object is disposed.
/// </summary>
public sealed class ModelSource : IDisposable
{
    private const int MaxTries = 1000;

    private readonly IDisposable? held;

    private ModelSource(string folder, IDisposable? held) => (Folder, this.held) = (folder, held);

    /// <summary>The folder of the model.</summary>
    public string Folder { get; }

    /// <summary>Finds the model of a path.</summary>
    /// <param name="path">A run, a checkpoint, or a folder with a model.</param>
    /// <param name="weights">Which weights of a checkpoint.</param>
    /// <exception cref="UserException">It is none of these, or cannot be read.</exception>
    public static ModelSource Open(string path, WeightChoice weights = WeightChoice.Default)
    {
        for (int tries = 1; ; tries++)
        {
            string folder = TrainingRun.ModelFolder(path, weights);
            try
            {
                return new ModelSource(folder, Checkpoint.Hold(folder));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The run made a newer checkpoint and removed this one.
                if (e is UnauthorizedAccessException || folder == path || tries == MaxTries)
                    throw new UserException($"{folder}: the checkpoint cannot be read: {e.Message}", e);
                Thread.Sleep(1);
            }
        }
    }

    /// <summary>Lets the run remove the checkpoint.</summary>
    public void Dispose() => held?.Dispose();
}
