using System.Text;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Training;

/// <summary>The end of a run's <see cref="TrainingRun.MetricsFile"/>, where a line a step and a line a validation are added.</summary>
internal sealed class MetricsWriter : IDisposable
{
    private readonly string folder, path;
    private readonly StreamWriter writer;

    /// <summary>Opens the file, or makes it.</summary>
    /// <exception cref="UserException">It cannot be written.</exception>
    public MetricsWriter(string folder)
    {
        (this.folder, path) = (folder, Path.Combine(folder, TrainingRun.MetricsFile));
        try
        {
            writer = new StreamWriter(new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete), new UTF8Encoding(false));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failed(e);
        }
    }

    /// <summary>Adds a line.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Append(object line) => Write(() => writer.WriteLine(JsonSerializer.Serialize(line)));

    /// <summary>Hands all lines to the operating system.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Flush() => Write(writer.Flush);

    /// <summary>
    /// Drops the lines of steps that were lost with a killed process, and what stands behind the last line that stays. A damaged line before that one
    /// stays as it is; readers skip it.
    /// </summary>
    /// <exception cref="UserException">The file cannot be read or written.</exception>
    public static void Trim(string folder, long lastStep)
    {
        string path = Path.Combine(folder, TrainingRun.MetricsFile);
        try
        {
            if (!File.Exists(path))
                return;
            var kept = new StringBuilder();
            var damaged = new StringBuilder();

            // Latin-1 takes every byte there and back.
            foreach (string line in SourceFile.HasContents(path) ? File.ReadLines(path, Encoding.Latin1) : [])
            {
                if (RunMetrics.StepOf(line) is not { } step)
                    damaged.Append(line).Append('\n');
                else if (step <= lastStep && lastStep > 0)
                    (kept, damaged) = (kept.Append(damaged).Append(line).Append('\n'), damaged.Clear());
            }

            AtomicFolder.WriteBytes(path, Encoding.Latin1.GetBytes(kept.ToString()));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}; free some space, or check the right to write it", e);
        }
    }

    private void Write(Action write)
    {
        try
        {
            write();
        }
        catch (IOException e)
        {
            throw Failed(e);
        }
    }

    private UserException Failed(Exception e) => new($"{path}: the losses cannot be written: {e.Message}; free some space, or check the right to write it, and go on with --resume {folder}", e);

    /// <summary>Closes the file. Lines that do not fit the disk are lost; <see cref="Flush"/> reports them.</summary>
    public void Dispose()
    {
        try
        {
            writer.Dispose();
        }
        catch (IOException)
        {
            // Flush has reported it.
        }
    }
}
