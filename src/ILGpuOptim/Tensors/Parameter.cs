using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// A tensor that training changes. Its memory and its gradient's stay until it is disposed with its model.
/// </summary>
public sealed class Parameter : Tensor
{
    /// <summary>Rents memory for a parameter; its contents are undefined until it is initialised or loaded.</summary>
    /// <param name="device">Where it lives.</param>
    /// <param name="name">Its name in <c>model.safetensors</c>.</param>
    /// <param name="shape">Its sizes.</param>
    public Parameter(Device device, string name, params ReadOnlySpan<int> shape)
        : base(device, device.Pool.Rent(Product(shape)), shape)
    {
        Name = name;
        RequiresGradient = true;
        IsKept = true;
    }

    /// <summary>The name in <c>model.safetensors</c>.</summary>
    public string Name { get; }

    /// <summary>Whether training leaves it as it is.</summary>
    public bool IsFrozen
    {
        get => !RequiresGradient;
        set => RequiresGradient = !value;
    }

    /// <summary>Whether <see cref="Tensor.Gradient"/> holds a sum that the next backward pass adds to.</summary>
    public bool HasGradient { get; internal set; }

    /// <summary>How many recorded operations still have to add to the gradient.</summary>
    internal int PendingUses { get; set; }

    /// <summary>Forgets the gradient's value; the next backward pass overwrites it.</summary>
    public void ClearGradient() => HasGradient = false;

    /// <summary>Forgets the gradient and gives its memory back.</summary>
    public void ReleaseGradient()
    {
        if (Gradient is { } gradient)
            Device.Pool.Return(gradient);
        Gradient = null;
        HasGradient = false;
    }

    /// <summary>Replaces the values.</summary>
    public void Load(ReadOnlySpan<float> values) => Device.Upload(values, Data);

    internal void Release()
    {
        ReleaseGradient();
        Device.Pool.Return(Data);
    }

    private static long Product(ReadOnlySpan<int> shape)
    {
        long product = 1;
        foreach (int size in shape)
            product *= size;
        return product;
    }
}
