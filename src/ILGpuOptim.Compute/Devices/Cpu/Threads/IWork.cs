namespace ILGpuOptim.Compute.Cpu;

/// <summary>The body of a parallel loop: a struct, so that running it allocates nothing.</summary>
internal interface IWork
{
    /// <summary>Does item <paramref name="index"/>. <paramref name="worker"/> tells which worker runs it (0 is the caller), for scratch memory only.</summary>
    void Invoke(int index, int worker);
}
