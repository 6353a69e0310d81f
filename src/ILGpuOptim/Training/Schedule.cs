namespace ILGpuOptim.Training;

/// <summary>Learning-rate schedules.</summary>
public enum ScheduleKind
{
    /// <summary>Constant after the warm-up.</summary>
    Constant,

    /// <summary>Linear decay.</summary>
    Linear,

    /// <summary>Decay along half a cosine.</summary>
    Cosine,

    /// <summary>Warm-up, stable, decay: constant, then linear decay over the last fraction of the run.</summary>
    Wsd,
}

/// <summary>The learning-rate factor of each step: a linear warm-up, then a decay to a fraction of the peak.</summary>
/// <param name="Kind">The decay after the warm-up.</param>
/// <param name="Steps">Steps of the whole run.</param>
/// <param name="Warmup">Steps of the warm-up.</param>
/// <param name="Final">The factor at the end.</param>
/// <param name="DecayFraction">The fraction of the run over which <see cref="ScheduleKind.Wsd"/> decays.</param>
public sealed record Schedule(ScheduleKind Kind, int Steps, int Warmup, double Final, double DecayFraction = 0.2)
{
    /// <summary>The factor at a step, from 0.</summary>
    public double Factor(long step)
    {
        if (step < Warmup)
            return (step + 1.0) / (Warmup + 1.0);
        double progress = Steps > Warmup ? Math.Clamp((double)(step - Warmup) / (Steps - Warmup), 0, 1) : 1;
        double left = Kind switch
        {
            ScheduleKind.Constant => 1,
            ScheduleKind.Linear => 1 - progress,
            ScheduleKind.Cosine => 0.5 * (1 + Math.Cos(Math.PI * progress)),
            _ => progress < 1 - DecayFraction ? 1 : (1 - progress) / DecayFraction,
        };
        return Final + (1 - Final) * left;
    }
}
