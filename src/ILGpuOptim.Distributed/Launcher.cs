using System.Globalization;

namespace ILGpuOptim.Distributed;

/// <summary>What a launcher of MPI tells the processes that it starts, in environment variables.</summary>
internal static class Launcher
{
    private static readonly string[] OpenMpiVariables = ["OMPI_COMM_WORLD_SIZE", "PRTE_LAUNCHED", "PMIX_NAMESPACE"];

    /// <summary>The numbers of processes of Open MPI's mpirun, of MPICH's and Slurm's srun.</summary>
    private static readonly string[] SizeVariables = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

    /// <summary>True if Open MPI's mpirun, or another one with PMIx, started this process.</summary>
    public static bool IsOpenMpi => OpenMpiVariables.Any(name => Environment.GetEnvironmentVariable(name) is { Length: > 0 });

    /// <summary>The variable that says that there are several processes, and how many; null if none does.</summary>
    public static (string Variable, int Size)? Several
    {
        get
        {
            foreach (string name in SizeVariables)
            {
                if (int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out int size) && size > 1)
                    return (name, size);
            }

            return null;
        }
    }
}
