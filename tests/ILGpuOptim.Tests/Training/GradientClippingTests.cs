using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>The factor that optimizers multiply gradients by: min(1, limit / (norm + 1e-6)).</summary>
public class GradientClippingTests
{
    [Theory]
    [InlineData(1, 0.2)]
    [InlineData(2.5, 0.5)]
    [InlineData(5.1, 1)]
    [InlineData(100, 1)]
    public void ScalesToTheLimit(double limit, double expected)
    {
        using var device = new CpuDevice(2);
        var gradients = new Gradients(device);
        using var clipping = new GradientClipping(device, [Of(gradients, [3, 0, 0]), Of(gradients, [0, -4])]);
        Assert.Equal(expected, Value(device, clipping.Measure(gradients, limit)!.Value), 5);
        Assert.Equal(5, Value(device, clipping.Norm), 5);
    }

    [Fact]
    public void ALimitOfZeroMeasuresAndClipsNothing()
    {
        using var device = new CpuDevice(1);
        var gradients = new Gradients(device);
        using var clipping = new GradientClipping(device, [Of(gradients, [6, 8])]);
        Assert.Null(clipping.Measure(gradients, 0));
        Assert.Equal(10, Value(device, clipping.Norm), 5);
    }

    [Fact]
    public void ZeroGradientsStay()
    {
        using var device = new CpuDevice(1);
        var gradients = new Gradients(device);
        using var clipping = new GradientClipping(device, [Of(gradients, [0, 0])]);
        Assert.Equal(1, Value(device, clipping.Measure(gradients, 1)!.Value));
    }

    [Fact]
    public void NotANumberIsNotHidden()
    {
        using var device = new CpuDevice(1);
        var gradients = new Gradients(device);
        using var clipping = new GradientClipping(device, [Of(gradients, [1, float.NaN])]);
        Assert.Equal(float.NaN, Value(device, clipping.Measure(gradients, 1)!.Value));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(33)]
    [InlineData(4097)]
    public void OptimizersReadClippedGradients(int length)
    {
        using var device = new CpuDevice(2);
        var clipped = new Parameter(device, "clipped", length);
        var gradients = new Gradients(device);
        var gradient = new float[length];
        Block first = gradients.Target(clipped, out _);
        device.Random(first, RandomKind.Normal, 1, 1, 0);
        device.Download(first, gradient);
        using var clipping = new GradientClipping(device, [clipped]);
        using var sgd = new Sgd();
        sgd.Add(clipped, new SgdOptions { LearningRate = 1 });
        sgd.GradientFactor = clipping.Measure(gradients, 1e-3);
        sgd.Step(gradients);
        float factor = Value(device, sgd.GradientFactor!.Value);
        Assert.Equal(Array.ConvertAll(gradient, value => 0f - value * factor), clipped.ToArray());
    }

    private static Parameter Of(Gradients gradients, float[] gradient)
    {
        var parameter = new Parameter(gradients.Device, "p", gradient.Length);
        gradients.Device.Upload(gradient, gradients.Target(parameter, out _));
        return parameter;
    }

    private static float Value(Device device, in Block scalar)
    {
        var value = new float[1];
        device.Download(scalar, value);
        return value[0];
    }
}
