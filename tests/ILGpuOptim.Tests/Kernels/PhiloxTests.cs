using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Cpu;
using Xunit;

namespace ILGpuOptim.Tests.Kernels;

public class PhiloxTests
{
    /// <summary>The known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds).</summary>
    [Theory]
    [InlineData(0UL, 0UL, 0UL, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(ulong.MaxValue, ulong.MaxValue, ulong.MaxValue, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(0x299f31d0a4093822UL, 0x0370734413198a2eUL, 0x85a308d3243f6a88UL, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void GivesThePublishedAnswers(ulong seed, ulong stream, ulong counter, uint a, uint b, uint c, uint d) =>
        Assert.Equal((a, b, c, d), Philox.Generate(seed, stream, counter));

    [Theory]
    [InlineData(0UL)]
    [InlineData(0xFFFFFFFEUL)]
    [InlineData(ulong.MaxValue - 1)]
    public unsafe void ManyCountersAtOnceGiveTheSameWords(ulong first)
    {
        const ulong Seed = 0x0123456789ABCDEFUL, Stream = 0xFEDCBA9876543210UL;
        uint* words = stackalloc uint[32];
        CpuPhilox.Words(Seed, Stream, first, 8, words);
        for (int i = 0; i < 8; i++)
            Assert.Equal(Philox.Generate(Seed, Stream, first + (ulong)i), (words[4 * i], words[(4 * i) + 1], words[(4 * i) + 2], words[(4 * i) + 3]));
    }

    [Fact]
    public void UnitNumbersAreBelowOne()
    {
        Assert.Equal(0f, Philox.Unit(0xFF));
        Assert.Equal(1f - (1f / 16777216f), Philox.Unit(uint.MaxValue));
    }
}
