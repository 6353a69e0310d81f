using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

/// <summary>A lock that cannot be taken tells why.</summary>
public class FolderLockTests
{
    [Fact]
    public void AFileThatIsLockedBelongsToAnotherProcess()
    {
        using var folder = new TemporaryFolder();
        using FolderLock held = FolderLock.Take(folder.Path);
        Assert.Contains("works in this folder", Assert.Throws<UserException>(() => FolderLock.Take(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AFileThatCannotBeWrittenDoesNot()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "there, a program that runs cannot be opened for writing, by no user");
        using var folder = new TemporaryFolder();
        File.CreateSymbolicLink(Path.Combine(folder.Path, "lock"), "/proc/self/exe");
        Assert.ThrowsAny<IOException>(() => FolderLock.Take(folder.Path).Dispose());
    }
}
