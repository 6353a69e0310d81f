using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>Applied functions with their inputs, for every device.</summary>
internal static class FunctionCases
{
    /// <summary>A function of some inputs.</summary>
    /// <param name="Shapes">The inputs.</param>
    /// <param name="Apply">The function.</param>
    /// <param name="Uses">Which input is which argument; null: one after the other.</param>
    public sealed record Case(int[][] Shapes, Func<Tape, Tensor[], Tensor> Apply, int[]? Uses = null);

    public static readonly Dictionary<string, Case> All = new()
    {
        ["one argument"] = new([[3, 5]], (tape, t) => tape.Apply(new Wave(0.7f), t[0])),
        ["one argument, a scalar"] = new([[]], (tape, t) => tape.Apply(new Wave(0.7f), t[0])),
        ["one argument, odd size"] = new([[7, 11, 13]], (tape, t) => tape.Apply(new Wave(-1.2f), t[0])),
        ["two whole"] = new([[3, 37], [3, 37]], Gated),
        ["the same twice"] = new([[3, 5]], Gated, [0, 0]),
        ["per column"] = new([[33, 17], [17]], Gated),
        ["per row"] = new([[33, 17], [33, 1]], Gated),
        ["a scalar"] = new([[33, 17], [1]], Gated),
        ["a scalar first"] = new([[], [5, 3]], Gated),
        ["rows by columns"] = new([[6, 1], [1, 9]], Gated),
        ["leading sizes"] = new([[2, 3, 4], [3, 4]], Gated),
        ["trailing sizes"] = new([[2, 1, 1], [2, 3, 4]], Gated),
        ["a middle size"] = new([[2, 3, 4], [3, 1]], Gated),
        ["outer and inner sizes"] = new([[2, 1, 4], [3, 1]], Gated),
        ["three, each another axis"] = new([[2, 1, 1], [3, 1], [4]], Mixed),
        ["ones"] = new([[1, 1], [1]], Gated),
        ["many rows"] = new([[515, 3], [3]], Gated),
        ["a long column"] = new([[2, 1500], [1500]], Gated),
        ["three whole"] = new([[4, 9], [4, 9], [4, 9]], Mixed),
        ["three, the last whole"] = new([[9], [4, 1], [4, 9]], Mixed),
        ["three, the middle whole"] = new([[9], [4, 9], [1]], Mixed),
        ["three, none whole"] = new([[9], [4, 1], [1]], Mixed),
        ["three, the first and the last the same"] = new([[9], [4, 9]], Mixed, [0, 1, 0]),
        ["three, all the same"] = new([[4, 9]], Mixed, [0, 0, 0]),
    };

    private static Tensor Gated(Tape tape, Tensor[] t) => tape.Apply(new Gate(0.3f), t[0], t[1]);

    private static Tensor Mixed(Tape tape, Tensor[] t) => tape.Apply(new Mix(), t[0], t[1], t[2]);

    /// <summary>The gradients of Σ w f of a case, and f itself.</summary>
    /// <param name="device">Where.</param>
    /// <param name="test">The case.</param>
    /// <param name="trains">Which inputs need gradients; null: all.</param>
    public static (float[] Value, float[]?[] Gradients) Run(Device device, Case test, bool[]? trains = null)
    {
        Parameter[] inputs = Inputs(device, test);
        for (int k = 0; k < inputs.Length; k++)
            inputs[k].IsFrozen = trains is not null && !trains[k];
        var tape = new Tape(device);
        Tensor output = test.Apply(tape, Arguments(tape, test, inputs));
        float[] value = output.ToArray();
        tape.Backward(Weighted(tape, output));
        float[]?[] gradients = [.. inputs.Select(input => input.IsFrozen ? null : GradientOf(tape, input))];
        tape.Reset();
        return (value, gradients);
    }

    public static Parameter[] Inputs(Device device, Case test)
    {
        var inputs = new Parameter[test.Shapes.Length];
        for (int k = 0; k < inputs.Length; k++)
        {
            inputs[k] = new Parameter(device, $"input {k}", test.Shapes[k]);
            device.Random(inputs[k].Data, RandomKind.Normal, 1, seed: 7, stream: (ulong)k);
        }

        return inputs;
    }

    /// <summary>The inputs themselves: parameters and activations take their gradients differently, so every second is an activation.</summary>
    public static Tensor[] Arguments(Tape tape, Case test, Parameter[] inputs)
    {
        Tensor[] tensors = [.. inputs.Select((input, k) => k % 2 == 0 ? input : tape.Apply(new Copied(), input))];
        return test.Uses is null ? tensors : [.. test.Uses.Select(k => tensors[k])];
    }

    /// <summary>Σ w x with w of a normal distribution, so that every element's gradient differs.</summary>
    public static Tensor Weighted(Tape tape, Tensor output)
    {
        Block weights = tape.Scratch(output.Length);
        tape.Device.Random(weights, RandomKind.Normal, 1, seed: 9, stream: 0);
        Tensor sum = tape.Output([1], output);
        tape.Device.Gemm(new GemmArguments(output.Data, weights, sum.Data, 1, 1, (int)output.Length));
        tape.Record(new WeightedSum(sum, output, weights));
        return sum;
    }

    public static float[] GradientOf(Tape tape, Parameter parameter)
    {
        var result = new float[parameter.Length];
        parameter.Device.Download(tape.Gradients[parameter], result);
        return result;
    }

    private sealed class WeightedSum(Tensor sum, Tensor input, Block weights) : Operation(sum, input)
    {
        public override void Backward(Tape tape) => tape.Device.Copy(weights, tape.GradientOf(input, out _));
    }

    private readonly struct Copied : IFunction1
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x) where L : struct, ILane<L> => x;
    }

    private readonly struct Wave(float factor) : IFunction1
    {
        private readonly float factor = factor;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x) where L : struct, ILane<L> => L.Tanh(x * L.Splat(factor)) * L.Exp(x * L.Splat(-0.5f));
    }

    private readonly struct Gate(float factor) : IFunction2
    {
        private readonly float factor = factor;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L y) where L : struct, ILane<L> => x * y / (L.Splat(1) + L.Exp(-y)) + L.Splat(factor) * x * x;
    }

    private readonly struct Mix : IFunction3
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Apply<L>(L x, L y, L z) where L : struct, ILane<L> => L.Fma(x, L.Tanh(y), z * z) - y * z;
    }
}
