using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Tests.Autograd;

/// <summary>One row for each use of a general operation: shapes, the operation, and what it should give by plain loops.</summary>
internal static partial class OpCases
{
    /// <param name="Shapes">Of the inputs.</param>
    /// <param name="Apply">The operation.</param>
    /// <param name="Expected">The same by plain loops.</param>
    /// <param name="IsPositive">Whether inputs are taken above ½.</param>
    internal sealed record Case(int[][] Shapes, Func<Tape, Tensor[], Tensor> Apply, Func<NdArray[], NdArray> Expected, bool IsPositive = false);

    public static Dictionary<string, Case> All { get; } = new(
        ElementCases().Concat(ReductionCases()).Concat(ShapeCases()).Concat(ProductCases()).Concat(IndexCases()).Concat(LossCases()).Concat(ImageCases()));

    private static KeyValuePair<string, Case> Row(string name, int[][] shapes, Func<Tape, Tensor[], Tensor> apply, Func<NdArray[], NdArray> expected, bool isPositive = false) =>
        new(name, new Case(shapes, apply, expected, isPositive));

    public static Parameter[] Inputs(Device device, Case test)
    {
        var inputs = new Parameter[test.Shapes.Length];
        for (int k = 0; k < inputs.Length; k++)
        {
            inputs[k] = new Parameter(device, $"input {k}", test.Shapes[k]);
            float[] values = Numbers(device, inputs[k].Length, (ulong)k);
            inputs[k].Load(test.IsPositive ? [.. values.Select(value => MathF.Abs(value) + 0.5f)] : values);
        }

        return inputs;
    }

    /// <summary>Parameters, views and results take their gradients differently, so the inputs are one after the other one of them.</summary>
    public static Tensor[] Arguments(Tape tape, Parameter[] inputs) =>
        [.. inputs.Select((input, k) => (k % 3) switch { 0 => input, 1 => tape.Affine(input, 1), _ => tape.Reshape(input, [.. input.Shape]) })];

    /// <summary>Σ w x with w of a normal distribution, so that every element's gradient differs.</summary>
    public static Tensor Weighted(Tape tape, Tensor output) =>
        tape.Sum(tape.Multiply(output, tape.Constant(Numbers(tape.Device, output.Length, 99), [.. output.Shape])));

    /// <summary>The result, and the gradients of its weighted sum; null for inputs that do not train.</summary>
    public static (float[] Value, float[]?[] Gradients) Run(Device device, Case test, bool[]? trains = null, int times = 1)
    {
        Parameter[] inputs = Inputs(device, test);
        for (int k = 0; k < inputs.Length; k++)
            inputs[k].IsFrozen = trains is not null && !trains[k];
        var tape = new Tape(device);
        Tensor[] arguments = Arguments(tape, inputs);
        Tensor output = test.Apply(tape, arguments);
        float[] value = output.ToArray();
        Tensor loss = Weighted(tape, output);
        for (int time = 1; time < times; time++)
            loss = tape.Add(loss, Weighted(tape, test.Apply(tape, arguments)));
        if (loss.RequiresGradient)
            tape.Backward(loss);
        float[]?[] gradients = [.. inputs.Select(input => input.IsFrozen ? null : GradientOf(tape, input))];
        tape.Reset();
        foreach (Parameter input in inputs)
            device.Pool.Return(input.Data);
        return (value, gradients);
    }

    /// <summary>A parameter's gradient; zeros where no element of it mattered.</summary>
    public static float[] GradientOf(Tape tape, Parameter parameter)
    {
        var result = new float[parameter.Length];
        if (!tape.Gradients.Has(parameter))
            return result;
        tape.Device.Download(tape.Gradients[parameter], result);
        tape.Gradients.Release(parameter);
        return result;
    }

    private static float[] Numbers(Device device, long length, ulong stream)
    {
        Block block = device.Pool.Rent(length);
        var values = new float[length];
        if (length > 0)
        {
            device.Random(block, RandomKind.Normal, 1, seed: 7, stream);
            device.Download(block, values);
        }

        device.Pool.Return(block);
        return values;
    }
}
