using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>
/// Clips gradients by their global norm without a separate pass: optimizers multiply gradients by a device scalar as they read them.
/// </summary>
public sealed class GradientClipping : IDisposable
{
    private readonly Device device;
    private readonly Ownership? ownership;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly Dictionary<Parameter, int> places;
    private readonly Block squares, norm, factor;
    private bool isDisposed;

    /// <summary>Prepares for a set of parameters.</summary>
    public GradientClipping(Device device, IReadOnlyList<Parameter> parameters)
        : this(device, parameters, null)
    {
    }

    /// <summary>Prepares for a set of parameters, of which each rank measures those that it owns.</summary>
    internal GradientClipping(Device device, IReadOnlyList<Parameter> parameters, Ownership? ownership)
    {
        (this.device, this.ownership) = (device, ownership);
        this.parameters = parameters;
        places = parameters.Index().ToDictionary(item => item.Item, item => item.Index);
        squares = device.Pool.Rent(Math.Max(1, parameters.Count));
        norm = device.Pool.Rent(1);
        factor = device.Pool.Rent(1);
        device.Fill(squares, 0);
    }

    /// <summary>The norm of the last <see cref="Measure"/>, a device scalar.</summary>
    public Block Norm => norm;

    /// <summary>The squared norm of each parameter's gradient, in the order of the parameters.</summary>
    internal Block Squares => squares;

    /// <summary>
    /// Measures the norm of all gradients. Returns min(1, limit / (norm + 1e-6)) as a device scalar, or null when
    /// <paramref name="limit"/> is 0 and nothing is clipped.
    /// </summary>
    public Block? Measure(Gradients gradients, double limit)
    {
        foreach (Parameter parameter in parameters)
        {
            if (gradients.Has(parameter) && (ownership?.IsHere(parameter) ?? true))
                Add(gradients, parameter);
            else
                device.Fill(squares.Slice(places[parameter], 1), 0);
        }

        return Total(limit);
    }

    /// <summary>Measures the gradient of one parameter, which may be gone when <see cref="Total"/> is called.</summary>
    public void Add(Gradients gradients, Parameter parameter) =>
        device.Map(new SquaresRule(), 1, parameter.Length, gradients[parameter], Operand.Scalar(squares.Slice(places[parameter], 1)));

    /// <summary>Computes the norm of all measured gradients; returns as <see cref="Measure"/>.</summary>
    public Block? Total(double limit)
    {
        ownership?.Share(squares);
        Block total = device.Pool.Rent(1);
        try
        {
            device.Map(new TotalRule(), 1, parameters.Count, squares, Operand.Scalar(total));
            device.Map(new FactorRule((float)(limit > 0 ? limit : float.MaxValue)), 1, 1, total, norm, factor);
        }
        finally
        {
            device.Pool.Return(total);
        }

        return limit > 0 ? factor : null;
    }

    /// <summary>Returns the memory to the pool. Further calls do nothing.</summary>
    public void Dispose()
    {
        if (isDisposed)
            return;
        isDisposed = true;
        device.Pool.Return(squares);
        device.Pool.Return(norm);
        device.Pool.Return(factor);
    }

    private readonly struct FactorRule(float limit) : IMap3
    {
        private readonly float limit = limit;

        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares, ref L norm, ref L factor) where L : struct, ILane<L>
        {
            norm = L.Sqrt(squares);

            // A NaN norm is the second operand and stays.
            factor = L.Min(L.Splat(1), L.Splat(limit) / (norm + L.Splat(1e-6f)));
        }
    }
}
