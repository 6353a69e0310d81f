using System.Runtime.InteropServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>
/// The gradients of parameters, as one <see cref="Tape"/> sums them up: their memory, whether they have a value, and how many recorded operations
/// still have to add to them. Two tapes may share a model: each has gradients of its own.
/// </summary>
/// <param name="device">The device of their memory.</param>
public sealed class Gradients(Device device)
{
    private readonly Dictionary<Parameter, Entry> entries = [];

    /// <summary>The device that holds the gradients.</summary>
    public Device Device { get; } = device;

    /// <summary>The bytes that the gradients take at this moment.</summary>
    public long Bytes { get; private set; }

    /// <summary>The gradient of a parameter, F32, laid out as the parameter's elements.</summary>
    /// <exception cref="InvalidOperationException">It has no value.</exception>
    public Block this[Parameter parameter] => entries.TryGetValue(parameter, out Entry entry) && entry.HasValue
        ? entry.Memory!.Value
        : throw new InvalidOperationException($"'{parameter.Name}' has no gradient: take one by Tape.Backward, of a loss that depends on it, before it is cleared");

    /// <summary>True if a parameter's gradient has a value, to which the next backward pass adds.</summary>
    public bool Has(Parameter parameter) => entries.TryGetValue(parameter, out Entry entry) && entry.HasValue;

    /// <summary>The memory for a parameter's gradient, which counts as written from now on, and the factor (0 or 1) of its present contents.</summary>
    public Block Target(Parameter parameter, out float beta)
    {
        ref Entry entry = ref CollectionsMarshal.GetValueRefOrAddDefault(entries, parameter, out _);
        beta = entry.HasValue ? 1 : 0;
        if (entry.Memory is null)
        {
            entry.Memory = Device.Pool.Rent(parameter.Length);
            Bytes += sizeof(float) * parameter.Length;
        }

        entry.HasValue = true;
        return entry.Memory.Value;
    }

    /// <summary>Forgets the value of a gradient, not its memory; the next backward pass overwrites it.</summary>
    public void Clear(Parameter parameter)
    {
        if (entries.ContainsKey(parameter))
            At(parameter).HasValue = false;
    }

    /// <summary>Forgets the values of all gradients, not their memory.</summary>
    public void Clear()
    {
        foreach (Parameter parameter in entries.Keys)
            At(parameter).HasValue = false;
    }

    /// <summary>Forgets a gradient and gives its memory back.</summary>
    public void Release(Parameter parameter)
    {
        if (!entries.ContainsKey(parameter))
            return;
        ref Entry entry = ref At(parameter);
        entry.HasValue = false;
        if (entry.Memory is not { } memory)
            return;
        entry.Memory = null;
        Bytes -= sizeof(float) * memory.Length;
        Device.Pool.Return(memory);
    }

    /// <summary>Forgets all gradients and gives their memory back.</summary>
    public void Release()
    {
        foreach (Parameter parameter in entries.Keys)
            Release(parameter);
    }

    /// <summary>Counts a recorded operation that will add to a parameter's gradient.</summary>
    internal void Await(Parameter parameter) => CollectionsMarshal.GetValueRefOrAddDefault(entries, parameter, out _).Pending++;

    /// <summary>Counts an operation whose gradient was taken; returns whether the parameter's gradient is complete now and has a value.</summary>
    internal bool Completes(Parameter parameter)
    {
        ref Entry entry = ref CollectionsMarshal.GetValueRefOrAddDefault(entries, parameter, out _);
        return --entry.Pending == 0 && entry.HasValue;
    }

    /// <summary>Forgets what was recorded.</summary>
    internal void AwaitNothing()
    {
        foreach (Parameter parameter in entries.Keys)
            At(parameter).Pending = 0;
    }

    private ref Entry At(Parameter parameter) => ref CollectionsMarshal.GetValueRefOrNullRef(entries, parameter);

    private struct Entry
    {
        public Block? Memory;
        public bool HasValue;
        public int Pending;
    }
}
