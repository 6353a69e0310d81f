using ILGpuOptim.Files;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Lab;

public sealed class GoldenCaseTests : IDisposable
{
    /// <summary>Opening checks init_sha and grad_sha of every parameter.</summary>
    private readonly IReadOnlyList<GoldenCase> cases = GoldenCase.ReadAll(Goldens.Folder("optimizers"));

    public void Dispose()
    {
        foreach (GoldenCase golden in cases)
            golden.Dispose();
    }

    private GoldenCase Case(string name) => cases.Single(golden => golden.Name == name);

    [Fact]
    public void TheHashGivesTheTestVectors()
    {
        const uint Seed = 7296;
        Assert.Equal([3788821u, 11279632u, 7930651u, 9074129u], Enumerable.Range(0, 4).Select(i => GoldenParameter.Hash(Seed, 0, (uint)i)));
        Assert.Equal([4865822u, 8412836u, 3225362u, 9959385u], Enumerable.Range(0, 4).Select(i => GoldenParameter.Hash(Seed, 1, (uint)i)));
        Assert.Equal([6196034u, 5146082u, 615104u, 4318939u], Enumerable.Range(0, 4).Select(i => GoldenParameter.Hash(Seed, uint.MaxValue, (uint)i)));
        GoldenParameter wide = Case("adamw/default").Parameters["wide"];
        Assert.Equal(Seed, wide.Seed);
        Assert.Equal(-0.13068759441375732f, wide.Initial()[0]);
        Assert.Equal(-0.06051788479089737f, wide.Gradient(1)[0]);
        Assert.Equal(-0.004127632826566696f, wide.Gradient(1)[24]);
        Assert.Equal(-0.34271401166915894f, wide.Gradient(2)[0]);
    }

    [Fact]
    public void EveryRecordedTensorIsReached()
    {
        Assert.Equal(38, cases.Count);
        foreach (GoldenCase golden in cases)
        {
            var left = golden.File.Tensors.Keys.Where(name => !name.StartsWith("svals.", StringComparison.Ordinal)).ToHashSet();
            foreach (GoldenParameter parameter in golden.Parameters.Values)
            {
                foreach (int step in golden.RecordedSteps)
                {
                    Assert.Equal(parameter.Length, parameter.ExpectedParameter(step).Length);
                    Assert.True(left.Remove($"param.{parameter.Name}.step{step}"));
                }

                foreach (string state in parameter.States)
                {
                    Assert.NotEmpty(parameter.ExpectedState(state)!);
                    Assert.True(left.Remove($"state.{parameter.Name}.{state}"));
                }

                for (int refresh = 0; refresh < parameter.RefreshSteps.Length; refresh++)
                {
                    Assert.NotEmpty(parameter.Projection(refresh));
                    string name = $"proj.{parameter.Name}.{refresh}";
                    if (!left.Remove(name))
                    {
                        Assert.NotEqual(parameter.Projection(refresh), parameter.Projection(refresh, second: true));
                        Assert.True(left.Remove(name + ".A") && left.Remove(name + ".B"));
                    }
                }
            }

            Assert.Empty(left);
        }
    }

    [Fact]
    public void ProjectionsHoldUntilTheNext()
    {
        GoldenParameter wide = Case("galore/std_r4").Parameters["wide"];
        Assert.Equal([1, 21, 41], wide.RefreshSteps);
        Assert.Equal([0, 0, 1, 1, 2, 2], new[] { 1, 20, 21, 40, 41, 60 }.Select(wide.RefreshAt));
        Assert.Equal(8 * 4, wide.Projection(0).Length);
        GoldenParameter vector = Case("galore/std_r4").Parameters["vec"];
        Assert.Empty(vector.RefreshSteps);
        Assert.Equal(-1, vector.RefreshAt(1));
    }

    [Fact]
    public void SchedulesAndSpecialStepsAreThoseOfTheCase()
    {
        GoldenCase warm = Case("adamw/wd_warmup");
        Assert.Equal([0.1, 0.9, 1, 1], new[] { 1, 9, 10, 60 }.Select(warm.LearningRateFactor));
        Assert.Equal(1, Case("adamw/default").LearningRateFactor(1));
        GoldenParameter edge = Case("adamw/edge").Parameters["square"];
        Assert.All(edge.Gradient(5), value => Assert.Equal(0, value));
        Assert.InRange(edge.Gradient(20).Max(Math.Abs), 5000, 10000);
        Assert.Equal(60, Case("adamw/default").Parameters["wide"].ExpectedState("step")![0]);
        Assert.Null(edge.ExpectedState("nothing"));
    }

    [Fact]
    public void ExceptionsFromTheToleranceAreNarrow()
    {
        Assert.Equal(GoldenTolerance.Usual, Case("adamw/default").ToleranceOf("wide", 1));
        Assert.Equal(GoldenTolerance.FullProjectionStart, Case("galore/full").ToleranceOf("wide", 2));
        Assert.Equal(GoldenTolerance.Usual, Case("galore/full").ToleranceOf("wide", 10));
        Assert.Equal(GoldenTolerance.Usual, Case("galore/full").ToleranceOf("vec", 1));
        Assert.Equal(GoldenTolerance.Bf16Iteration, Case("muon_kozistr/moonlight_bf16").ToleranceOf("wide", 60));
        Assert.Equal(GoldenTolerance.Usual, Case("muon_kozistr/moonlight_bf16").ToleranceOf("vec", 60));
        Assert.Equal(GoldenTolerance.Usual, Case("muon_kozistr/moonlight_f32").ToleranceOf("wide", 60));
    }

    [Fact]
    public void ADamagedFolderIsNamed()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("index.json", Assert.Throws<UserException>(() => GoldenCase.ReadAll(folder.Path)).Message);
        File.WriteAllText(folder["index.json"], "{}");
        Assert.Contains("not an index", Assert.Throws<UserException>(() => GoldenCase.ReadAll(folder.Path)).Message);
        string index = File.ReadAllText(Goldens.Folder("optimizers", "index.json"));
        File.WriteAllText(folder["index.json"], index);
        Assert.Contains("there is no such file", Assert.Throws<SafetensorsException>(() => GoldenCase.ReadAll(folder.Path)).Message);
        File.WriteAllText(folder["index.json"], index.Replace("79a25d394b5f751c", "79a25d394b5f751d"));
        Assert.Contains("its first values should hash to 79a25d394b5f751d", Assert.Throws<UserException>(() => GoldenCase.ReadAll(folder.Path)).Message);
    }
}
