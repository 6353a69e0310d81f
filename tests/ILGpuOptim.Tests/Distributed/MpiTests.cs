using ILGpuOptim.Distributed;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>What can be tested of MPI without an MPI library: tests/mpi-test.sh does the rest.</summary>
public class MpiTests
{
    [Theory]
    [InlineData("/nonexistent/libmpi.so")]
    [InlineData("libc.so.6")]
    public void AFileThatIsNoMpiLibraryIsNamed(string path)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Environment.Is64BitProcess, "MPI is supported on 64-bit Linux");
        Environment.SetEnvironmentVariable(MpiLibrary.PathVariable, path);
        try
        {
            string message = Assert.Throws<CommunicationException>(() => MpiCommunicator.Open()).Message;
            Assert.StartsWith($"ILGPUOPTIM_MPI {path}: this is not a usable MPI library", message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
        }
        finally
        {
            Environment.SetEnvironmentVariable(MpiLibrary.PathVariable, null);
        }
    }
}
