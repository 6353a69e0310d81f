using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The non-linear functions of feed-forward layers.</summary>
public enum Activation
{
    /// <summary>GELU by tanh: x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), as GPT-2 (<c>gelu_new</c>).</summary>
    GeluTanh,

    /// <summary>Exact GELU: x/2 · (1 + erf(x/√2)), as BERT (<c>gelu</c>).</summary>
    GeluErf,

    /// <summary>An approximation of GELU by the logistic function: x · σ(1.702 x) (<c>quick_gelu</c>).</summary>
    QuickGelu,

    /// <summary>max(x, 0).</summary>
    Relu,

    /// <summary>x · σ(x) with the logistic function σ.</summary>
    Silu,
}

/// <summary>A product, its bias and an activation in one pass.</summary>
public static class LinearActivationOp
{
    /// <summary>y = activation(x W + bias). Arguments as in <see cref="LinearOp.Linear"/>.</summary>
    /// <returns>n × out.</returns>
    public static Tensor LinearActivation(this Tape tape, Tensor x, Tensor weight, Tensor bias, Activation activation, bool transposed = false)
    {
        int outputs = transposed ? weight.Shape[0] : weight.Shape[1];
        Tensor output = tape.Output([x.Rows, outputs], x, weight, bias);
        Block before = tape.Scratch(output.Length);
        var product = new GemmArguments(x.Data, weight.Data, output.Data, x.Rows, outputs, x.Columns) { TransposeB = transposed };
        Product(tape.Device, product, Operand.PerColumn(bias.Data), before, activation);
        tape.Record(new Gradient(output, x, weight, bias, before, activation, transposed));
        return output;
    }

    /// <summary>A product whose result becomes activation(result + bias), with result + bias itself in <paramref name="before"/>.</summary>
    internal static void Product(Device device, in GemmArguments product, in Operand bias, in Block before, Activation activation)
    {
        switch (activation)
        {
            case Activation.GeluTanh:
                device.Gemm(product, new Forward<GeluTanh>(), bias, before);
                break;
            case Activation.GeluErf:
                device.Gemm(product, new Forward<GeluErf>(), bias, before);
                break;
            case Activation.QuickGelu:
                device.Gemm(product, new Forward<QuickGelu>(), bias, before);
                break;
            case Activation.Relu:
                device.Gemm(product, new Forward<Relu>(), bias, before);
                break;
            case Activation.Silu:
                device.Gemm(product, new Forward<Silu>(), bias, before);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(activation), activation, null);
        }
    }

    private sealed class Gradient(Tensor output, Tensor x, Tensor weight, Tensor bias, Block before, Activation activation, bool transposed)
        : Operation(output, x, weight, bias)
    {
        public override void Backward(Tape tape)
        {
            Block slope = Output.Gradient!.Value, sum = tape.ColumnSumTarget(bias, out bool add);
            switch (activation)
            {
                case Activation.GeluTanh:
                    Through<GeluTanh>(tape.Device, slope, sum);
                    break;
                case Activation.GeluErf:
                    Through<GeluErf>(tape.Device, slope, sum);
                    break;
                case Activation.QuickGelu:
                    Through<QuickGelu>(tape.Device, slope, sum);
                    break;
                case Activation.Relu:
                    Through<Relu>(tape.Device, slope, sum);
                    break;
                case Activation.Silu:
                    Through<Silu>(tape.Device, slope, sum);
                    break;
            }

            tape.AddColumnSum(bias, sum, add);
            tape.Release(before);
            LinearOp.ProductGradients(tape, x, weight, slope, Output.Columns, transposed);
        }

        private void Through<F>(Device device, in Block slope, in Block sum) where F : struct, IActivation =>
            device.Map(new Backwards<F>(), Output.Rows, Output.Columns, slope, before, Operand.PerColumn(sum));
    }

    /// <summary>y (the product) and bias become activation(y + bias); the sum itself is kept for the gradient.</summary>
    private readonly struct Forward<F> : IMap3 where F : struct, IActivation
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L bias, ref L before) where L : struct, ILane<L>
        {
            before = y + bias;
            y = F.Value(before);
        }
    }

    /// <summary>The gradient goes through the activation, in place, and is summed for the bias.</summary>
    private readonly struct Backwards<F> : IMap3 where F : struct, IActivation
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L slope, ref L before, ref L sum) where L : struct, ILane<L>
        {
            slope *= F.Slope(before);
            sum = slope;
        }
    }

    private interface IActivation
    {
        static abstract L Value<L>(L x) where L : struct, ILane<L>;

        static abstract L Slope<L>(L x) where L : struct, ILane<L>;
    }

    private readonly struct GeluTanh : IActivation
    {
        private const float Inner = 0.7978845608f; // √(2/π)
        private const float Cubic = 0.044715f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Value<L>(L x) where L : struct, ILane<L>
        {
            L half = x * L.Splat(0.5f);
            return L.Fma(half, L.Tanh(Argument(x)), half);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Slope<L>(L x) where L : struct, ILane<L>
        {
            L tanh = L.Tanh(Argument(x)), half = L.Splat(0.5f);
            L inner = L.Fma(x * x, L.Splat(3 * Inner * Cubic), L.Splat(Inner));
            L bend = (L.Splat(1) - tanh * tanh) * inner;
            return half * L.Fma(x, bend, L.Splat(1) + tanh);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static L Argument<L>(L x) where L : struct, ILane<L> =>
            x * L.Fma(x * x, L.Splat(Inner * Cubic), L.Splat(Inner));
    }

    private readonly struct GeluErf : IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Value<L>(L x) where L : struct, ILane<L>
        {
            L half = x * L.Splat(0.5f);
            return L.Fma(half, L.Erf(x * L.Splat(0.7071067812f)), half);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Slope<L>(L x) where L : struct, ILane<L>
        {
            L area = L.Fma(L.Erf(x * L.Splat(0.7071067812f)), L.Splat(0.5f), L.Splat(0.5f));
            L density = L.Splat(0.3989422804f) * L.Exp(x * x * L.Splat(-0.5f));
            return L.Fma(x, density, area);
        }
    }

    private readonly struct QuickGelu : IActivation
    {
        private const float Steepness = 1.702f;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Value<L>(L x) where L : struct, ILane<L> => x * Logistic(x * L.Splat(Steepness));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Slope<L>(L x) where L : struct, ILane<L>
        {
            L steep = x * L.Splat(Steepness), logistic = Logistic(steep);
            return logistic * L.Fma(steep, L.Splat(1) - logistic, L.Splat(1));
        }
    }

    private readonly struct Relu : IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Value<L>(L x) where L : struct, ILane<L> => L.Select(L.Less(x, L.Splat(0)), L.Splat(0), x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Slope<L>(L x) where L : struct, ILane<L> => L.Select(L.Less(L.Splat(0), x), L.Splat(1), L.Splat(0));
    }

    private readonly struct Silu : IActivation
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Value<L>(L x) where L : struct, ILane<L> => x * Logistic(x);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static L Slope<L>(L x) where L : struct, ILane<L>
        {
            L logistic = Logistic(x);
            return logistic * L.Fma(x, L.Splat(1) - logistic, L.Splat(1));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Logistic<L>(L x) where L : struct, ILane<L> => L.Splat(1) / (L.Splat(1) + L.Exp(-x));
}
