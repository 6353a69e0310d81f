using ILGpuOptim.Compute;
using ILGpuOptim.Tests.Cpu;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Attention's tests on a GPU. Stamped on each device below.</summary>
public abstract class GpuAttentionTests(GpuDevice device)
{
    [Fact]
    public void AgreesWithTheTextbook() => AttentionTests.AgreesWithTheTextbook(device, AttentionTests.Shapes());

    [Fact]
    public void MasksAgreeWithTheTextbook() => AttentionTests.AgreesWithTheTextbook(device, AttentionTests.MaskedShapes());

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
public class OpenClAttentionTests() : GpuAttentionTests(Gpu.OpenCl());

/// <summary>A GPU's kernels, on whatever OpenCL device there is.</summary>
[Collection("gpu"), Trait("device", "opencl")]
public class OpenClAttentionOfGpusTests() : GpuAttentionTests(Gpu.OpenClWithKernelsOfGpus());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaAttentionTests() : GpuAttentionTests(Gpu.Cuda());
