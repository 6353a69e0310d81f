using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Lab;

/// <summary>The search of settings one after another.</summary>
public class CoordinateSearchTests
{
    private static readonly SearchAxis Rate = new("lr", [1e-3, 1e-2], [1e-5, 1e-4, 1e-1, 1], 1e-2), Decay = new("weight_decay", [0, 1, 2], [4], 1);

    [Fact]
    public void AGridGrowsOnlyWhileItsBestIsAtAnEnd()
    {
        var asked = new List<double>();
        (IReadOnlyList<CoordinateSearch.Searched> axes, bool settled) = CoordinateSearch.Find([Rate], 1, point =>
        {
            asked.Add(point[0]);
            return Math.Abs(Math.Log10(point[0]) + 4.2);
        });
        Assert.Equal([1e-3, 1e-2, 1e-4, 1e-5], asked);
        Assert.Equal((1e-4, (string?)null), (axes[0].Best, axes[0].Edge));
        Assert.True(settled);
    }

    [Theory]
    [InlineData(-9.0, 1e-5, "lowest")]
    [InlineData(9.0, 1, "highest")]
    public void AnEndThatCannotGrowIsNamed(double optimum, double best, string edge)
    {
        CoordinateSearch.Searched axis = CoordinateSearch.Find([Rate], 1, point => Math.Abs(Math.Log10(point[0]) - optimum)).Axes[0];
        Assert.Equal((best, edge), (axis.Best, axis.Edge));
    }

    [Fact]
    public void WhereAllDivergeItGoesLower()
    {
        CoordinateSearch.Searched axis = CoordinateSearch.Find([Rate], 1, point => point[0] > 1e-4 ? double.PositiveInfinity : point[0]).Axes[0];
        Assert.Equal([1e-5, 1e-4, 1e-3, 1e-2], axis.Tried.Select(item => item.Value));
        Assert.Equal(1e-5, axis.Best);
    }

    [Fact]
    public void LaterPassesFollowSettingsThatDependOnEachOther()
    {
        static double Loss(IReadOnlyList<double> point) => Math.Abs(Math.Log10(point[0]) + 1 + point[1]) + 0.1 * Math.Abs(point[1] - 2);
        (IReadOnlyList<CoordinateSearch.Searched> once, bool settled) = CoordinateSearch.Find([Rate, Decay], 1, Loss);
        Assert.Equal([1e-2, 1], once.Select(axis => axis.Best));
        Assert.True(settled);
        (once, settled) = CoordinateSearch.Find([Rate, Decay with { Start = 2 }], 1, Loss);
        Assert.Equal([1e-3, 2], once.Select(axis => axis.Best));
        Assert.False(settled);
        (_, settled) = CoordinateSearch.Find([Rate, Decay with { Start = 2 }], 2, Loss);
        Assert.True(settled);
    }
}
