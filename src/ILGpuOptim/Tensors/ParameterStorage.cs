using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>The storage of a model's parameters during training. Gradients and arithmetic are always f32.</summary>
public enum ParameterStorage
{
    /// <summary>32 bits.</summary>
    F32,

    /// <summary>The upper 16 bits, rounded stochastically by updates.</summary>
    BF16,

    /// <summary>
    /// Weights of products in 8 bits with an f32 scale for 256 neighbours, rounded stochastically by updates, as Q-APOLLO has them; embeddings,
    /// an output head and vectors in bf16.
    /// </summary>
    Int8,
}

/// <summary>The kind of a parameter, which selects its storage.</summary>
public enum ParameterRole
{
    /// <summary>A vector, a table of embeddings, an output head.</summary>
    Other,

    /// <summary>The weight of a product within the model.</summary>
    Product,

    /// <summary>The weight of a product of one expert among several.</summary>
    Expert,
}

/// <summary>The storage of each parameter.</summary>
internal static class ParameterStorages
{
    /// <summary>The storage of a parameter.</summary>
    public static DType TypeOf(this ParameterStorage storage, ParameterRole role) => storage switch
    {
        ParameterStorage.F32 => DType.F32,
        ParameterStorage.Int8 when role != ParameterRole.Other => DType.I8,
        _ => DType.BF16,
    };
}
