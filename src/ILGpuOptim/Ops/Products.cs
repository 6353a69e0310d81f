using System.Buffers;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Matrix products that are launched together, in a rented array.</summary>
/// <param name="most">The largest number of products.</param>
internal ref struct Products(int most)
{
    private readonly GemmArguments[] all = ArrayPool<GemmArguments>.Shared.Rent(most);
    private int count;

    public void Add(in GemmArguments product) => all[count++] = product;

    /// <summary>Launches the products and returns the array.</summary>
    public readonly void Run(Device device)
    {
        device.Gemm(all.AsSpan(0, count));
        ArrayPool<GemmArguments>.Shared.Return(all, clearArray: true);
    }
}
