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

    /// <summary>The same of four elements, from a multiple of four on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 KeepFour(ulong seed, ulong stream, long element, float keep)
    {
        (uint a, uint b, uint c, uint d) = Philox.Generate(seed, stream, (ulong)element >> 2);
        float kept = 1 / keep;
        return new Float4(Philox.Unit(a) < keep ? kept : 0, Philox.Unit(b) < keep ? kept : 0, Philox.Unit(c) < keep ? kept : 0, Philox.Unit(d) < keep ? kept : 0);
    }

    /// <summary>Threads of a group of <see cref="Fill"/>; each generates four values.</summary>
    public const int Threads = 128;

    /// <summary>Fills a block; see <see cref="Device.Random"/>.</summary>
    public static void Fill(ArrayView<float> target, long length, float scale, ulong seed, ulong stream, SpecializedValue<int> kind)
    {
        long counter = (long)Grid.IdxX * Threads + Group.IdxX, start = counter * 4;
        if (start >= length)
            return;
        (uint a, uint b, uint c, uint d) = Philox.Generate(seed, stream, (ulong)counter);
        float x0 = Philox.Unit(a), x1 = Philox.Unit(b), x2 = Philox.Unit(c), x3 = Philox.Unit(d);
        if (kind.Value == (int)RandomKind.Normal)
        {
            RandomNumbers.Normal(new F1(x0), new F1(x1), new F1(scale), out F1 y0, out F1 y1);
            RandomNumbers.Normal(new F1(x2), new F1(x3), new F1(scale), out F1 y2, out F1 y3);
            (x0, x1, x2, x3) = (y0.Value, y1.Value, y2.Value, y3.Value);
        }
        else
        {
            x0 = RandomNumbers.One((RandomKind)kind.Value, scale, x0);
            x1 = RandomNumbers.One((RandomKind)kind.Value, scale, x1);
            x2 = RandomNumbers.One((RandomKind)kind.Value, scale, x2);
            x3 = RandomNumbers.One((RandomKind)kind.Value, scale, x3);
        }

        target[start] = x0;
        if (start + 1 < length)
            target[start + 1] = x1;
        if (start + 2 < length)
            target[start + 2] = x2;
        if (start + 3 < length)
            target[start + 3] = x3;
    }
}
