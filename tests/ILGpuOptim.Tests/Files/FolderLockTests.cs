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
    public void AnothersFileOfTheLocksNameIsNoLock()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need rights there");
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["precious"], "text");
        File.CreateSymbolicLink(folder["lock"], folder["precious"]);
        Assert.Contains("the file is not a lock", Assert.Throws<UserException>(() => FolderLock.Take(folder.Path)).Message, StringComparison.Ordinal);
        Assert.Equal("text", File.ReadAllText(folder["precious"]));
    }
}
