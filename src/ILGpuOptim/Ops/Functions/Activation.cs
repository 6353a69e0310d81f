using ILGpuOptim.Compute;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Ops;

/// <summary>
/// An activation function of feed-forward layers, with kernels that fuse it into matrix products. <see cref="Of{F}"/> makes one of any
/// <see cref="IFunction1"/>. Those with names in <c>config.json</c> are in <see cref="ActivationNames"/>.
/// </summary>
public abstract class Activation
{
    private protected Activation()
    {
    }

    /// <summary>Tanh approximation of GELU, as in GPT-2.</summary>
    public static Activation GeluTanh { get; } = WithDerivative(new GeluTanh());

    /// <summary>Exact GELU, as in BERT.</summary>
    public static Activation GeluErf { get; } = WithDerivative(new GeluErf());

    /// <summary>x · σ(1.702 x).</summary>
    public static Activation QuickGelu { get; } = Of(new QuickGelu());

    /// <summary>x · σ(x), also called swish.</summary>
    public static Activation Silu { get; } = WithDerivative(new Silu());

    /// <summary>max(x, 0).</summary>
    public static Activation Relu { get; } = Of(new Relu());

    /// <summary>max(x, 0)².</summary>
    public static Activation SquaredRelu { get; } = Of(new SquaredRelu());

    /// <summary>min(max(x, 0), 6).</summary>
    public static Activation Relu6 { get; } = Of(new Relu6());

    /// <summary>x or x/100.</summary>
    public static Activation LeakyRelu { get; } = WithDerivative(new LeakyRelu(0.01f));

    /// <summary>x or eˣ - 1.</summary>
    public static Activation Elu { get; } = Of(new Elu(1));

    /// <summary>x · tanh(ln(1 + eˣ)).</summary>
    public static Activation Mish { get; } = Of(new Mish());

    /// <summary>ln(1 + eˣ).</summary>
    public static Activation Softplus { get; } = Of(new Softplus());

    /// <summary>1 / (1 + e⁻ˣ).</summary>
    public static Activation Sigmoid { get; } = Of(new Sigmoid());

    /// <summary>The hyperbolic tangent.</summary>
    public static Activation Tanh { get; } = Of(new Tanh());

    /// <summary>x.</summary>
    public static Activation Identity { get; } = Of(new Identity());

    /// <summary>The distribution function of a normal distribution, as in MEGA.</summary>
    public static Activation Laplace { get; } = Of(new Laplace());

    /// <summary>Makes an activation of a function; its derivative comes from dual lanes.</summary>
    public static Activation Of<F>(F function) where F : unmanaged, IFunction1 => new FusedActivation<Differentiated<F>>(new(function));

    /// <summary>Makes an activation of a function whose derivative is written by hand.</summary>
    public static Activation WithDerivative<F>(F function) where F : unmanaged, IFunctionWithDerivative => new FusedActivation<F>(function);

    /// <summary>A product whose result becomes activation(result + bias).</summary>
    /// <param name="device">The device.</param>
    /// <param name="product">The product.</param>
    /// <param name="bias">One value per column, or null.</param>
    /// <param name="before">Receives result + bias for the gradient, or null.</param>
    internal abstract void Product(Device device, in GemmArguments product, Block? bias, Block? before);

    /// <summary>Replaces the gradient of the result by the gradient of the activation's argument.</summary>
    /// <param name="device">The device.</param>
    /// <param name="rows">The rows of the gradient.</param>
    /// <param name="columns">The columns of the gradient.</param>
    /// <param name="gradient">The gradient.</param>
    /// <param name="before">The argument.</param>
    /// <param name="bias">Receives the sum of each column, or null.</param>
    internal abstract void Backward(Device device, long rows, long columns, in Block gradient, in Block before, Operand? bias);

    /// <summary>A product whose result u becomes u + bias, and a second result activation(gate) ∘ (u + bias).</summary>
    /// <param name="device">The device.</param>
    /// <param name="product">The product.</param>
    /// <param name="bias">One value per column, or null.</param>
    /// <param name="gate">The gate, of the result's shape.</param>
    /// <param name="gated">The second result; may share the memory of <paramref name="gate"/>.</param>
    internal abstract void GatedProduct(Device device, in GemmArguments product, Block? bias, in Block gate, in Block gated);

    /// <summary>gated = activation(gate + gateBias) ∘ (up + upBias), where biases may be null.</summary>
    internal abstract void Gate(Device device, long rows, long columns, in Operand gate, Block? gateBias, in Operand up, Block? upBias, in Block gated);

    /// <summary>Replaces gate and up by the gradients of activation(gate) ∘ up, and sums these over rows.</summary>
    internal abstract void GateBackward(Device device, long rows, long columns, in Block gradient, in Block gate, in Block up, Operand? gateBias, Operand? upBias);

    /// <summary>Writes the gradients of activation(gate) ∘ up to separate operands.</summary>
    internal abstract void GateBackward(Device device, long rows, long columns, in Block gradient, in Operand gate, in Operand up, in Operand gateGradient, in Operand upGradient);

    /// <summary>activation(x), element-wise.</summary>
    internal abstract Tensor Apply(Tape tape, Tensor x);
}
