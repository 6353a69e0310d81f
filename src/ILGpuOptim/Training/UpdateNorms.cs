using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The norms of a parameter in one step.</summary>
/// <param name="Name">The parameter's name.</param>
/// <param name="Gradient">The Euclidean norm of its gradient before clipping.</param>
/// <param name="Update">The norm of the change of its stored weights, rounding included.</param>
/// <param name="Weights">The norm of its weights before the update.</param>
public readonly record struct ParameterNorms(string Name, float Gradient, float Update, float Weights)
{
    /// <summary>The norm of the update divided by that of the weights; infinite for weights that were all zero.</summary>
    public float UpdateRatio => Update / Weights;
}

/// <summary>
/// Measures the norms of <see cref="ParameterNorms"/> on the device, of all trained parameters in one step. Around a parameter's update it copies the
/// weights to memory that the parameters share, and sums the squares of their change in one pass.
/// </summary>
internal sealed class UpdateNorms : IUpdateObserver, IDisposable
{
    private readonly Device device;
    private readonly Ownership? ownership;
    private readonly string[] names;
    private readonly Dictionary<Parameter, int> places;
    private readonly Block squares, before;

    /// <summary>Prepares for a set of parameters, of which each rank measures those that it owns.</summary>
    public UpdateNorms(Device device, IReadOnlyList<Parameter> parameters, Ownership? ownership)
    {
        (this.device, this.ownership) = (device, ownership);
        names = [.. parameters.Select(parameter => parameter.Name)];
        places = parameters.Index().ToDictionary(item => item.Item, item => item.Index);
        squares = device.Pool.RentPersistent(3, names.Length);
        before = device.Pool.RentPersistent(1, parameters.Max(parameter => parameter.Length));
    }

    /// <summary>Begins a step.</summary>
    public void Begin() => device.Fill(squares, 0);

    /// <inheritdoc/>
    public void Updating(Parameter parameter) => device.Map(new CopyRule(), parameter.Rows, parameter.Columns, parameter.Data, before.Slice(0, parameter.Length));

    /// <inheritdoc/>
    public void Updated(Parameter parameter) => device.Map(
        new ChangeRule(), parameter.Rows, parameter.Columns, parameter.Data, before.Slice(0, parameter.Length), Operand.Scalar(Place(1, parameter)), Operand.Scalar(Place(2, parameter)));

    /// <summary>Starts reading the norms of the step.</summary>
    /// <param name="gradients">The squared norms of the gradients, in the order of the parameters.</param>
    public PendingNorms Read(in Block gradients)
    {
        device.Copy(gradients.Slice(0, names.Length), squares.Slice(0, names.Length));
        ownership?.Share(squares);
        return new PendingNorms(names, device.ReadLater(squares));
    }

    private Block Place(int kind, Parameter parameter) => squares.Slice(kind * names.Length + places[parameter], 1);

    /// <summary>Returns the memory to the pool.</summary>
    public void Dispose()
    {
        device.Pool.Return(squares);
        device.Pool.Return(before);
    }

    /// <summary>Norms on their way from the device.</summary>
    internal sealed class PendingNorms(string[] names, Readback squares)
    {
        private ParameterNorms[]? norms;

        /// <summary>Waits for the norms, in the order of the parameters.</summary>
        public IReadOnlyList<ParameterNorms> Wait()
        {
            if (norms is not null)
                return norms;
            ReadOnlySpan<float> values = squares.Wait();
            norms = new ParameterNorms[names.Length];
            for (int i = 0; i < names.Length; i++)
                norms[i] = new(names[i], MathF.Sqrt(values[i]), MathF.Sqrt(values[names.Length + i]), MathF.Sqrt(values[2 * names.Length + i]));
            return norms;
        }
    }

    /// <summary>c = Σ (a − b)², d = Σ b².</summary>
    private readonly struct ChangeRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L after, ref L before, ref L change, ref L weights) where L : struct, ILane<L>
        {
            L difference = after - before;
            change = difference * difference;
            weights = before * before;
        }
    }
}
