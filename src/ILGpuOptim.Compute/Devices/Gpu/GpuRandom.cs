using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Counter-based random numbers on the device.</summary>
internal static class GpuRandom
{
    /// <summary>Element <paramref name="element"/> of a <see cref="RandomKind.KeepMask"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Keep(ulong seed, ulong stream, long element, float keep)
    {
        (uint a, uint b, uint c, uint d) = Philox.Generate(seed, stream, (ulong)element >> 2);
        int place = (int)(element & 3);
        uint word = place == 0 ? a : place == 1 ? b : place == 2 ? c : d;
        return Philox.Unit(word) < keep ? 1 / keep : 0;
    }
}
