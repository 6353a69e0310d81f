using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Cpu;

public sealed class HostMemoryTests : IDisposable
{
    private readonly TemporaryFolder root = new();

    public void Dispose() => root.Dispose();

    [Fact]
    public void WhatIsFreeCountsNotWhatIsThere()
    {
        long before = HostMemory.AvailableBytes(root.Path);
        Write("proc/meminfo", "MemTotal:       24000000 kB\nMemFree:          100000 kB\nMemAvailable:     200000 kB\n");
        Assert.True(before > 204_800_000, "the machine that runs the tests has more memory free");
        Assert.Equal(204_800_000, HostMemory.AvailableBytes(root.Path));
    }

    [Fact]
    public void TheTightestGroupOfVersion2Counts()
    {
        Write("proc/self/cgroup", "0::/job/step\n");
        Write("sys/fs/cgroup/job/memory.max", "50000000\n");
        Write("sys/fs/cgroup/job/memory.current", "20000000\n");
        Write("sys/fs/cgroup/job/memory.stat", "anon 1\ninactive_file 3000000\n");
        Write("sys/fs/cgroup/job/step/memory.max", "max\n");
        Write("sys/fs/cgroup/job/step/memory.current", "10000000\n");
        Assert.Equal(33_000_000, HostMemory.AvailableBytes(root.Path));
    }

    [Fact]
    public void ContainersOfVersion1SeeTheirLimitAtTheRoot()
    {
        Write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/container/abc\n0::/\n");
        Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "40000000\n");
        Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "15000000\n");
        Assert.Equal(25_000_000, HostMemory.AvailableBytes(root.Path));
    }

    [Fact]
    public void UnlimitedGroupsAndDamagedFilesDoNotMatter()
    {
        long free = HostMemory.AvailableBytes(root.Path);
        Write("proc/self/cgroup", "4:memory:/x\n0::/../y\nnonsense\n");
        Write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        Write("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "abc\n");
        Assert.InRange(HostMemory.AvailableBytes(root.Path), free / 2, free * 2);
    }

    private void Write(string file, string contents)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(root[file])!);
        File.WriteAllText(root[file], contents);
    }
}
