using System.Text;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;

namespace ILGpuOptim.Training;

/// <summary>Appends lines to a run's <see cref="TrainingRun.MetricsFile"/>: one per step, validation and sample, and one whenever training begins.</summary>
internal sealed class MetricsWriter : IDisposable
{
    private readonly string folder, path;
    private readonly StreamWriter writer;

    /// <summary>Opens or creates the file.</summary>
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

    /// <summary>Appends an object as a line of JSON.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Append(JsonObject line) => Write(() => writer.WriteLine(line.ToJsonString()));

    /// <summary>Passes all buffered lines to the operating system.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Flush() => Write(writer.Flush);

    /// <summary>
    /// Removes the lines of steps after <paramref name="lastStep"/>, which were lost with a killed process, and damaged lines at the end. Earlier
    /// damaged lines stay; readers skip them.
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

            // Latin-1 round-trips every byte.
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
            throw new UserException($"{path}: {e.Message}; free some space, or check the write permission", e);
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

    private UserException Failed(Exception e) =>
        UserException.NamingSettings($"{path}: the losses cannot be written: {e.Message}; free some space, or check the write permission, and continue with {TrainingRun.ResumePath:setting} {folder}", e);

    /// <summary>Closes the file. Lines that do not fit on the disk are lost; <see cref="Flush"/> reports them.</summary>
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
