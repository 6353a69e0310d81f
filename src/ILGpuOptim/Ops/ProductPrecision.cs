using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Products in a tape's precision.</summary>
internal static class ProductPrecision
{
    /// <summary>As the constructor of <see cref="GemmArguments"/>, with the tape's precision.</summary>
    public static GemmArguments Product(this Tape tape, Block a, Block b, Block c, int m, int n, int k) => new(a, b, c, m, n, k) { Precision = tape.Precision };
}
