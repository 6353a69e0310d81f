using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Scalars outside their range are refused before anything is computed, with the operation, the argument and the value.</summary>
public sealed class ScalarArgumentTests : IDisposable
{
    private readonly CpuDevice device = new(1);
    private readonly Tape tape;
    private readonly Parameter x, packed, weight, matrix;

    public ScalarArgumentTests()
    {
        tape = new Tape(device);
        (x, packed, weight, matrix) = (Of("x", 2, 4), Of("packed", 2, 12), Of("norm.weight", 4), Of("head.weight", 4, 4));
    }

    public void Dispose()
    {
        tape.Dispose();
        device.Dispose();
    }

    [Theory]
    [InlineData(-1e-6f)]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void NormsTakeAnEpsilonFromZero(float epsilon)
    {
        Refused($"RmsNorm 'norm': epsilon is {Text(epsilon)}", () => tape.RmsNorm(x, weight, epsilon));
        Refused($"LayerNorm 'norm': epsilon is {Text(epsilon)}", () => tape.LayerNorm(x, weight, null, epsilon));
        Refused($"final: Epsilon is {Text(epsilon)}", () => new Norm(new Initializer(device, 1), new NormDescription("final", NormKind.RmsNorm, epsilon), 4));
    }

    [Fact]
    public void AttentionSettingsAreChecked()
    {
        var good = new AttentionSettings { Heads = 2 };
        foreach (float scale in (float[])[float.NaN, float.PositiveInfinity, float.NegativeInfinity])
            Both($"attention: Scale is {Text(scale)}", good with { Scale = scale });
        foreach (float cap in (float[])[-1, float.NaN, float.PositiveInfinity])
            Both($"attention: SoftCap is {Text(cap)}", good with { SoftCap = cap });
        tape.IsTraining = false;
        foreach (float dropout in (float[])[-0.1f, 1, float.NaN])
            Both($"attention: Dropout is {Text(dropout)}", good with { Dropout = dropout });
        Both("attention: KeysBefore is -1", good with { KeysBefore = -1 });
        Both("attention: KeysAfter is -2", good with { KeysAfter = -2 });
        Both("attention: HeadSize is -4", good with { HeadSize = -4 });
        Both("attention: RotatedSize is -2", good with { RotatedSize = -2 });

        void Both(string message, AttentionSettings settings)
        {
            Refused(message, () => tape.SelfAttention(packed, 1, settings));
            Refused(message, () => tape.Attention(x, x, x, 1, settings));
        }
    }

    [Fact]
    public void OtherOperationsCheckTheirs()
    {
        foreach (float wrong in (float[])[float.NaN, float.PositiveInfinity])
        {
            Refused($"CrossEntropy 'head': scale is {Text(wrong)}", () => tape.CrossEntropy(x, matrix, null, [1, 2], scale: wrong));
            Refused($"CrossEntropy 'head': logitScale is {Text(wrong)}", () => tape.CrossEntropy(x, matrix, null, [1, 2], logitScale: wrong));
            Refused($"CrossEntropy 'head': softCap is {Text(wrong)}", () => tape.CrossEntropy(x, matrix, null, [1, 2], softCap: wrong));
            Refused($"LowRankSum 'head': scale is {Text(wrong)}", () => tape.LowRankSum(matrix, matrix, matrix, wrong, transposed: true));
            Refused($"Dropout: probability is {Text(wrong)}", () => tape.Dropout(x, wrong));
            Refused($"Jitter: epsilon is {Text(wrong)}", () => tape.Jitter(x, wrong));
            Refused($"Dropout: dropout is {Text(wrong)}", () => new Linear(new Initializer(device, 1), new ProjectionDescription("up"), 4, 4).Forward(tape, x, x, wrong));
        }

        Refused("CrossEntropy: mostKept is -1", () => tape.CrossEntropy(x, matrix, null, [1, 2], mostKept: -1));
        Refused("Route: perToken is 5", () => tape.Route(x, 5, normalizes: true));
        Refused("RouterLoss: experts is 0", () => new RouterLoss(tape, 1, 0, 2));
        RouterChoice choice = tape.Route(x, 2, normalizes: true);
        foreach (int expert in (int[])[-1, 4])
        {
            Refused($"there is no expert {expert} of 4", () => choice.StartOf(expert));
            Refused($"there is no expert {expert} of 4", () => choice.CountOf(expert));
            Refused($"there is no expert {expert} of 4", () => choice.TokensOf(expert));
        }
    }

    [Fact]
    public void InitializersCheckTheirs()
    {
        var initializer = new Initializer(device, 1);
        foreach (float wrong in (float[])[-1, float.NaN, float.PositiveInfinity])
        {
            Refused($"Initializer 'norm': standardDeviation is {Text(wrong)}", () => initializer.Fill(weight, wrong, 0));
            Refused($"Initializer 'norm': truncation is {Text(wrong)}", () => initializer.Fill(weight, 1, 0, wrong));
        }
    }

    private static string Text(float value) => FormattableString.Invariant($"{value}");

    private static void Refused(string message, Action call) =>
        Assert.Contains(message, Assert.Throws<ArgumentOutOfRangeException>(call).Message, StringComparison.Ordinal);

    private Parameter Of(string name, params int[] shape)
    {
        var parameter = new Parameter(device, name, shape);
        device.Random(parameter.Data, RandomKind.Normal, 1, 1, (ulong)name.Length);
        return parameter;
    }
}
