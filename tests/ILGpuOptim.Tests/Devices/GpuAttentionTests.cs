using ILGpuOptim.Compute;
using ILGpuOptim.Tests.Cpu;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// Attention's tests on a GPU. Stamped on each device below. Not thorough: one shape for each kind of kernel, and the masks all at once.
/// </summary>
public abstract class GpuAttentionTests(GpuDevice device, bool thorough)
{
    [Fact]
    public void AgreesWithTheTextbook() => AttentionTests.AgreesWithTheTextbook(device, thorough ? AttentionShapes.Usual() : AttentionShapes.Few());

    [Fact]
    public void MasksAgreeWithTheTextbook() =>
        AttentionTests.AgreesWithTheTextbook(device, thorough ? AttentionShapes.Masked() : AttentionShapes.Masked().Where(shape => shape is { Distances: true, Dropout: > 0 }));

    [Fact]
    public void NarrowOperandsAgreeWithTheTextbook()
    {
        Assert.SkipUnless(device.HasNarrowAttention, "the kernels for CPUs read f32 only");
        AttentionTests.AgreesWithTheTextbook(device, (thorough ? AttentionShapes.Few().Concat(AttentionShapes.Masked().Where(shape => shape is { Cap: > 0 })) : AttentionShapes.Few().Take(3)).Select(shape => shape with { Narrow = true }));
    }

    [Fact]
    public void RepeatsItsBits() => AttentionTests.RepeatsItsBits(device);

    [Theory]
    [InlineData(1)]
    [InlineData(70)]
    public void RowsWithoutAnyKeyAreZeroAndHaveNoGradient(int queries) => AttentionTests.RowsWithoutAnyKey(device, queries, 70);

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(70)]
    public void NaNReachesTheRowsThatSeeIt(int queries) => AttentionTests.NaNReaches(device, queries);

    [Fact]
    public void OneMaskSaidInSeveralWaysGivesTheSameBits() => AttentionTests.OneMaskSaidInSeveralWays(device);

    [Theory]
    [InlineData(2)]
    [InlineData(200)]
    public void WhatNobodySeesIsNotRead(int queries) => AttentionTests.WhatNobodySees(device, queries);

    [Fact]
    public void PartsOfOnePackedBlockAreReadAndWrittenInPlace() => AttentionTests.PartsOfOnePackedBlock(device);
}

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClAttentionTests() : GpuAttentionTests(Gpu.OpenCl(), thorough: true);

/// <summary>A GPU's kernels, on whatever OpenCL device there is; a driver for processors takes seconds to compile each.</summary>
[Collection("gpu"), Trait("device", "opencl")]
public class OpenClAttentionOfGpusTests() : GpuAttentionTests(Gpu.OpenClWithKernelsOfGpus(), thorough: false);

[Collection("gpu"), Trait("device", "cuda")]
public class CudaAttentionTests() : GpuAttentionTests(Gpu.Cuda(), thorough: true);
