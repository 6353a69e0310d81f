using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Kernels;

/// <summary>Conversion of spans against that of single numbers.</summary>
public class Bf16Tests
{
    /// <summary>Every sign, exponent and upper fraction, with lower halves on both sides of a tie; NaN and infinity among them.</summary>
    [Fact]
    public void SpansAreConvertedAsNumbersAre()
    {
        uint[] lower = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF];
        float[] numbers = [.. from upper in Enumerable.Range(0, 1 << 16) from low in lower select BitConverter.UInt32BitsToSingle(((uint)upper << 16) | low)];
        ushort[] expected = Array.ConvertAll(numbers, Bf16.Narrow);
        foreach (int length in (int[])[numbers.Length, 0, 1, 7, 15, 16, 17, 31, 32, 33, 67])
        {
            foreach (int first in (int[])[0, Math.Min(1, numbers.Length - length), (numbers.Length - length) / 2])
            {
                ushort[] narrow = new ushort[length + 2];
                float[] wide = new float[length + 2];
                Bf16.Narrow(numbers.AsSpan(first, length), narrow.AsSpan(1));
                Assert.Equal([0, .. expected[first..(first + length)], 0], narrow);
                Bf16.Widen(narrow.AsSpan(1, length), wide.AsSpan(1));
                Assert.Equal(expected[first..(first + length)].Select(value => (uint)value << 16), wide[1..^1].Select(BitConverter.SingleToUInt32Bits));
                Assert.Equal((0, 0), (wide[0], wide[^1]));
            }
        }
    }
}
