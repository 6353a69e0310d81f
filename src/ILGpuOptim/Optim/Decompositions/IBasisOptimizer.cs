namespace ILGpuOptim.Optim;

/// <summary>What tests and memory plans change of an optimizer with bases.</summary>
internal interface IBasisOptimizer
{
    /// <summary>Returns a basis instead of computing it, by refresh and by axis of the parameter, both from 0; for replaying recorded trajectories.</summary>
    Func<ParameterState, long, int, float[]>? BasisSource { get; set; }

    /// <summary>Called with each basis that was computed, by refresh and axis, in the form in which <see cref="BasisSource"/> gives it.</summary>
    Action<ParameterState, long, int, float[]>? BasisComputed { get; set; }

    /// <summary>Skips decompositions on the host, and takes the memory of a refresh in each step: for memory plans.</summary>
    bool ComputesNoBases { get; set; }

    /// <summary>A given basis of the right size.</summary>
    /// <exception cref="UserException">It has another size.</exception>
    static float[] Given(Func<ParameterState, long, int, float[]> source, in ParameterUpdate update, long refresh, int axis, long length) =>
        source(update.State, refresh, axis) is var given && given.Length == length ? given : throw new UserException($"{update.Name}: the given basis has {given.Length} elements instead of {length}");
}
