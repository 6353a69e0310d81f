using System.Diagnostics.Tracing;

namespace ILGpuOptim.Training;

/// <summary>
/// The events of the source <c>ILGpuOptim</c>, for <c>dotnet-trace</c>, PerfView and <see cref="EventListener"/>s. Without a listener they cost nothing.
/// On asynchronous devices a step stops when it has been launched.
/// </summary>
[EventSource(Name = TrainingMeters.Name)]
internal sealed class TrainingEvents : EventSource
{
    /// <summary>The source.</summary>
    public static readonly TrainingEvents Log = new();

    private TrainingEvents()
    {
    }

    [Event(1, Message = "step {0}")]
    public void StepStart(long step)
    {
        if (IsEnabled())
            WriteEvent(1, step);
    }

    [Event(2, Message = "step {0}")]
    public void StepStop(long step)
    {
        if (IsEnabled())
            WriteEvent(2, step);
    }

    [Event(3, Message = "validation after step {0}")]
    public void ValidationStart(long step)
    {
        if (IsEnabled())
            WriteEvent(3, step);
    }

    [Event(4, Message = "validation after step {0}")]
    public void ValidationStop(long step)
    {
        if (IsEnabled())
            WriteEvent(4, step);
    }

    [Event(5, Message = "checkpoint of step {0}")]
    public void CheckpointStart(long step)
    {
        if (IsEnabled())
            WriteEvent(5, step);
    }

    [Event(6, Message = "checkpoint of step {0}")]
    public void CheckpointStop(long step)
    {
        if (IsEnabled())
            WriteEvent(6, step);
    }
}
