using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

/// <summary>Options of Adam and AdamW that no recording covers.</summary>
public class AdamTests
{
    /// <summary>Without bias correction, the moments that begin at zero make the first steps small.</summary>
    [Theory]
    [InlineData(EpsilonForm.Corrected)]
    [InlineData(EpsilonForm.Uncorrected)]
    public void WithoutBiasCorrectionTheMomentsAreUsedAsTheyAre(EpsilonForm form)
    {
        using var device = new CpuDevice(1);
        var parameter = new Parameter(device, "p", 1);
        using var optimizer = new AdamW();
        var options = new AmsGradOptions { LearningRate = 0.1, Beta1 = 0.9, Beta2 = 0.99, Epsilon = 0.01, CorrectBias = false, EpsilonForm = form };
        optimizer.Add(parameter, options);
        var gradients = new Gradients(device);
        double p = 0, m = 0, v = 0;
        for (int step = 1; step <= 5; step++)
        {
            float g = 0.5f * step;
            device.Upload([g], gradients.Target(parameter, out _));
            optimizer.Step(gradients);
            m = 0.9 * m + 0.1 * g;
            v = 0.99 * v + 0.01 * g * g;
            p -= 0.1 * m / (Math.Sqrt(v) + 0.01);
            Assert.Equal(p, parameter.ToArray()[0], 1e-6);
        }
    }
}
