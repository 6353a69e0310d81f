using ILGpuOptim.Compute;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Optim;

/// <summary>A parameter and the optimizer's state for it.</summary>
public sealed class ParameterState
{
    /// <summary>Distinguishes the parameter's own rounding seed from those of its state.</summary>
    private const int WeightSeed = 15;

    private readonly Block[] stored;
    private readonly Block[] blocks;
    private Block? narrowWeights;

    internal ParameterState(Parameter parameter, OptimizerOptions options, OptimizerOptions composed, int index, IReadOnlyList<StateTensor> declared, bool isOwned)
    {
        IsOwned = isOwned;
        Parameter = parameter;
        Options = options;
        Parts = new(composed);
        Index = index;
        Declared = declared;
        stored = isOwned ? [.. declared.Select(tensor => Rented(parameter.Device, tensor))] : [];
        blocks = [.. stored];
    }

    /// <summary>Memory of a state tensor, filled with zeros.</summary>
    internal static Block Rented(Device device, StateTensor tensor)
    {
        Block block = device.Pool.RentPersistent(1, tensor.Length, tensor.Type);
        device.Fill(block, 0);
        return block;
    }

    /// <summary>The trained parameter.</summary>
    public Parameter Parameter { get; }

    /// <summary>Its group's settings.</summary>
    public OptimizerOptions Options { get; }

    internal Composition Parts { get; }

    /// <summary>Index of the parameter in the optimizer, from 0. Seeds derive from it.</summary>
    public int Index { get; }

    /// <summary>The state's tensors.</summary>
    public IReadOnlyList<StateTensor> Declared { get; }

    /// <summary>False if another rank owns the parameter, and so has its state (<see cref="Distributed.Communicator"/>).</summary>
    public bool IsOwned { get; }

    /// <summary>Changes the seeds of stochastic rounding, so that two runs can be told apart by their roundings.</summary>
    internal uint RoundingSeed { get; set; }

    /// <summary>Number of finished updates of this parameter.</summary>
    public long Step { get; internal set; }

    /// <summary>Device memory of a state tensor in its storage type; zero before the first step.</summary>
    /// <exception cref="KeyNotFoundException">The optimizer declared no such tensor for this parameter.</exception>
    public Block this[string name] => stored[IndexOf(name)];

    /// <summary>A state tensor as it is stored, or its f32 copy during an update that asked for one. Narrow storage is rounded stochastically.</summary>
    internal Operand StateOf(string name)
    {
        int index = IndexOf(name);
        return new(blocks[index]) { Seed = blocks[index].Type == DType.F32 ? 0 : SeedOf(index) };
    }

    /// <summary>A state tensor in f32 until <see cref="Narrow"/>.</summary>
    internal Block StateValues(string name)
    {
        int index = IndexOf(name);
        if (blocks[index].Type != DType.F32)
        {
            blocks[index] = Parameter.Device.Pool.Rent(stored[index].Length);
            Parameter.Device.Map(new CopyRule(), 1, stored[index].Length, stored[index], blocks[index]);
        }

        return blocks[index];
    }

    /// <summary>The parameter as it is stored, or an f32 copy; see <see cref="Rectangle"/>.</summary>
    internal Operand Weights
    {
        get
        {
            Fit();
            return new(Parameter.Data) { Seed = Parameter.IsNarrow ? SeedOf(WeightSeed) : 0 };
        }
    }

    /// <summary>The parameter in f32 until <see cref="Narrow"/>.</summary>
    internal Block WeightValues
    {
        get
        {
            if (Parameter.IsNarrow)
            {
                Block wide = Parameter.Widened();
                narrowWeights = Parameter.Data;
                Parameter.Data = wide;
            }

            return Parameter.Data;
        }
    }

    /// <summary>
    /// The rectangle of an element-wise rule over the parameter: one row if the storage allows it. An int8 parameter with rows that 8-bit state cannot follow is converted to f32.
    /// </summary>
    internal (long Rows, long Columns) Rectangle
    {
        get
        {
            Fit();
            return Parameter.Data.Type == DType.I8 ? (Parameter.Rows, Parameter.Columns) : (1, Parameter.Length);
        }
    }

    private void Fit()
    {
        if (Parameter.Data.Type != DType.I8 || Parameter.Rows == 1 || Parameter.Columns % DTypes.QuantizedBlock == 0)
            return;
        foreach (Block block in blocks)
        {
            if (block.Type.IsFloat8())
            {
                _ = WeightValues;
                return;
            }
        }
    }

    /// <summary>Stores the f32 copies of an update in the narrower types.</summary>
    internal void Narrow()
    {
        if (narrowWeights is { } narrow)
        {
            Block wide = Parameter.Data;
            Parameter.Data = narrow;
            narrowWeights = null;
            Parameter.Store(wide, SeedOf(WeightSeed));
        }

        Device device = Parameter.Device;
        for (int i = 0; i < blocks.Length; i++)
        {
            if (blocks[i].Type == stored[i].Type)
                continue;
            device.Map(new CopyRule(), 1, stored[i].Length, blocks[i], new Operand(stored[i]) { Seed = SeedOf(i) });
            device.Pool.Return(blocks[i]);
            blocks[i] = stored[i];
        }
    }

    /// <summary>Returns the memory of the state to the pool.</summary>
    internal void Release()
    {
        foreach (Block block in stored)
            Parameter.Device.Pool.Return(block);
    }

    private int IndexOf(string name)
    {
        if (!IsOwned)
            throw new InvalidOperationException($"the state of {Parameter.Name} is on another rank");
        for (int i = 0; i < Declared.Count; i++)
        {
            if (Declared[i].Name == name)
                return i;
        }

        throw new KeyNotFoundException($"{Parameter.Name} has no state named {name}; there {(Declared.Count == 0 ? "is none" : $"are {string.Join(", ", Declared.Select(tensor => tensor.Name))}")}");
    }

    /// <summary>A seed that differs for each step, parameter and tensor; never 0, which means rounding to nearest.</summary>
    private uint SeedOf(int index) => Rounding.Bits(((uint)(Index * 16 + index + 1)) ^ (RoundingSeed << 24), Step) | 1;
}
