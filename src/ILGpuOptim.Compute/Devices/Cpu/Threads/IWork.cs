namespace ILGpuOptim.Compute.Cpu;

/// <summary>The body of a parallel loop: a struct, so that running it allocates nothing.</summary>
internal interface IWork
{
    /// <summary>Runs item <paramref name="index"/>. <paramref name="worker"/> is the thread (0 is the caller), for scratch memory only.</summary>
    void Invoke(int index, int worker);
}
