namespace ILGpuOptim.Compute.Gpu;

/// <summary>The device limits that the kernels require.</summary>
internal static class GpuLimits
{
    /// <summary>The threads of the largest groups: products, maps and row programs.</summary>
    public const int Threads = 256;

    /// <summary>Shared memory of the largest kernel, attention: two strips of operands, a tile of weights and the maxima of its parts. The kernels for CPUs need more.</summary>
    public const int SharedBytes = 31 << 10, SharedBytesOfCpus = 68 << 10;

    /// <summary>Why the kernels cannot run on a device with such groups, or null.</summary>
    public static string? ProblemOf(int threads, long sharedBytes, bool isProcessor)
    {
        int needed = isProcessor ? SharedBytesOfCpus : SharedBytes;
        if (threads < Threads)
            return $"its groups have at most {threads} threads, and the kernels need {Threads}";
        return sharedBytes < needed ? $"its groups have {sharedBytes / 1024} KiB of shared memory, and attention needs {needed / 1024}" : null;
    }
}
