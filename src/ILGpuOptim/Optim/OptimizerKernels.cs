using ILGpuOptim.Compute;
using ILGpuOptim.Training;

namespace ILGpuOptim.Optim;

/// <summary>The GPU kernels that an optimizer's rules become.</summary>
public static class OptimizerKernels
{
    /// <summary>Compiles what an update of one matrix and one vector launches.</summary>
    /// <param name="settings">The optimizer.</param>
    /// <param name="rows">Rows of the matrix.</param>
    /// <param name="columns">Columns of the matrix, and the length of the vector.</param>
    /// <param name="target"><c>ptx</c> or <c>opencl</c>.</param>
    /// <param name="architecture">The compute capability for PTX.</param>
    /// <exception cref="UserException">There is no such optimizer, or it cannot train such a matrix.</exception>
    public static IReadOnlyList<KernelSource> Of(OptimizerSettings settings, int rows, int columns, string target, int architecture)
    {
        using var recorder = new KernelRecorder();
        var matrix = new Parameter(recorder.Device, "h.0.attn.c_attn.weight", rows, columns);
        var vector = new Parameter(recorder.Device, "h.0.attn.c_attn.bias", columns);
        using Optimizer optimizer = Registry.Create(settings, [matrix, vector], out _);
        var tape = new Tape(recorder.Device);
        tape.GradientOf(matrix, out _);
        tape.GradientOf(vector, out _);
        optimizer.Step();
        return recorder.Compile(target, architecture);
    }
}
