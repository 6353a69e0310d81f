using ILGpuOptim.Compute;
using ILGpuOptim.Ops.Functions;

namespace ILGpuOptim.Ops;

/// <summary>
/// A non-linear function of feed-forward layers, with kernels that fuse it into matrix products. Any <see cref="IFunction1"/> is one: see
/// <see cref="Of{F}"/>. Those with names in <c>config.json</c> are in <see cref="ActivationNames"/>.
/// </summary>
public abstract class Activation
{
    private protected Activation()
    {
    }

    /// <summary>GELU by tanh, as GPT-2.</summary>
    public static Activation GeluTanh { get; } = WithDerivative(new GeluTanh());

    /// <summary>Exact GELU, as BERT.</summary>
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

    /// <summary>The distribution function of a normal distribution, as MEGA.</summary>
    public static Activation Laplace { get; } = Of(new Laplace());

    /// <summary>A function as an activation; its derivative comes from dual lanes.</summary>
    public static Activation Of<F>(F function) where F : unmanaged, IFunction1 => new FusedActivation<Differentiated<F>>(new(function));

    /// <summary>A function whose derivative is written by hand as an activation.</summary>
    public static Activation WithDerivative<F>(F function) where F : unmanaged, IFunctionWithDerivative => new FusedActivation<F>(function);

    /// <summary>A product whose result becomes activation(result + bias).</summary>
    /// <param name="device">Where.</param>
    /// <param name="product">The product.</param>
    /// <param name="bias">Of each column, or null.</param>
    /// <param name="before">Where result + bias itself is kept for the gradient, or null.</param>
    internal abstract void Product(Device device, in GemmArguments product, Block? bias, Block? before);

    /// <summary>Makes of a result's gradient, in place, that of the activation's argument.</summary>
    /// <param name="device">Where.</param>
    /// <param name="rows">The rectangle.</param>
    /// <param name="columns">The rectangle.</param>
    /// <param name="gradient">The gradient.</param>
    /// <param name="before">The argument.</param>
    /// <param name="bias">Where the sum of each column goes, or null.</param>
    internal abstract void Backward(Device device, long rows, long columns, in Block gradient, in Block before, Operand? bias);

    /// <summary>A product whose result u becomes u + bias, and beside it activation(gate) ∘ (u + bias).</summary>
    /// <param name="device">Where.</param>
    /// <param name="product">The product.</param>
    /// <param name="bias">Of each column, or null.</param>
    /// <param name="gate">As the result.</param>
    /// <param name="gated">What is made; may be the memory of <paramref name="gate"/>.</param>
    internal abstract void GatedProduct(Device device, in GemmArguments product, Block? bias, in Block gate, in Block gated);

    /// <summary>gated = activation(gate + gateBias) ∘ (up + upBias), where biases may be missing.</summary>
    internal abstract void Gate(Device device, long rows, long columns, in Operand gate, Block? gateBias, in Operand up, Block? upBias, in Block gated);

    /// <summary>The gradients of activation(gate) ∘ up in the places of gate and up, and their sums over rows.</summary>
    internal abstract void GateBackward(Device device, long rows, long columns, in Block gradient, in Block gate, in Block up, Operand? gateBias, Operand? upBias);

    /// <summary>The gradients of activation(gate) ∘ up beside gate and up.</summary>
    internal abstract void GateBackward(Device device, long rows, long columns, in Block gradient, in Operand gate, in Operand up, in Operand gateGradient, in Operand upGradient);

    /// <summary>activation(x), element by element.</summary>
    internal abstract Tensor Apply(Tape tape, Tensor x);
}
