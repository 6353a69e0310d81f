using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>What an optimizer cannot train is refused when it is added, in one line that names the parameter.</summary>
public class RefusalTests
{
    private static readonly int[] Wide = [8, 24], Tall = [24, 8], Vector = [8], Cube = [2, 3, 4];

    public static TheoryData<Optimizer, OptimizerOptions, int[], string> Refused => new()
    {
        { new GaLore(), new GaLoreOptions { Rank = 4 }, Vector, "takes matrices only" },
        { new Fira(), new FiraOptions { Rank = 4 }, Cube, "takes matrices only" },
        { new Apollo(), new ApolloOptions { Rank = 4 }, Cube, "takes matrices only" },
        { new GaLore(), new GaLoreOptions { Rank = -1 }, Wide, "Rank -1: it must be a whole number from 1" },
        { new Apollo(), new ApolloOptions { Rank = 0 }, Wide, "Rank 0: it must be a whole number from 1" },
        { new GaLore(), new GaLoreOptions { Rank = 4, UpdateProjectionGap = 0 }, Wide, "UpdateProjectionGap 0: it must be a whole number from 1" },
        { new GaLore(), new GaLoreOptions { Rank = 4, ProjectionType = ProjectionType.Full, ProjectionBasis = ProjectionBasis.Random }, Wide, "use the svd basis" },
        { new Fira(), new FiraOptions { Rank = 4, ProjectionType = ProjectionType.Full }, Wide, "use std, left or right" },
        { new Fira(), new FiraOptions { Rank = 8, ProjectionType = ProjectionType.Left }, Tall, "rank 8 is too large" },
        { new Fira(), new FiraOptions { Rank = 8, ProjectionType = ProjectionType.ReverseStd }, Tall, "rank 8 is too large" },
        { new Apollo(), new ApolloOptions { Rank = 4, ProjectionType = ProjectionType.Left }, Tall, "needs the short side" },
        { new Apollo(), new ApolloOptions { Rank = 1, ProjectionType = ProjectionType.ReverseStd }, Wide, "needs the short side" },
        { new Apollo(), new ApolloOptions { Rank = 4, ProjectionType = ProjectionType.Full, ScaleType = ScaleType.Tensor }, Wide, "use the svd basis" },
        { new Muon(), new MuonOptions(), Vector, "no orthogonal form" },
        { new Sgd(), new SgdOptions { Nesterov = true }, Wide, "needs a momentum" },
        { new Adafactor(), new AdafactorOptions { ClipThreshold = 0.5 }, Wide, "ClipThreshold 0.5: it must be a number of at least 1" },
        { new AdafactorRelative(), new AdafactorRelativeOptions { RelativeStep = false, WarmupInit = true }, Wide, "needs the relative step" },
    };

    [Theory]
    [MemberData(nameof(Refused), DisableDiscoveryEnumeration = true)]
    public void IsRefusedInOneLine(Optimizer optimizer, OptimizerOptions options, int[] shape, string reason)
    {
        using var device = new CpuDevice(1);
        using (optimizer)
        {
            string message = Assert.Throws<UserException>(() => optimizer.Add(new Parameter(device, "h.0.weight", shape), options)).Message;
            Assert.Contains(reason, message, StringComparison.Ordinal);
            Assert.Contains("h.0.weight", message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
            Assert.Empty(optimizer.States);
        }
    }

    /// <summary>Through the settings: the first matrix that cannot be trained so stops everything.</summary>
    [Fact]
    public void SettingsAreRefusedAlike()
    {
        using var device = new CpuDevice(1);
        OptimizerSettings settings = new OptimizerSettings { Name = "apollo" }.With("rank=4").With("projection_type=left");
        Assert.Contains("h.0.attn.weight", Assert.Throws<UserException>(() => Registry.Create(settings, [new Parameter(device, "h.0.attn.weight", Tall)], out _)).Message);
    }
}
