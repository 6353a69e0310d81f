using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.OpenCL;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Matrix products on OpenCL devices that are CPUs.
public sealed partial class GpuDevice
{
    /// <summary>The fewest columns of C, and steps of k, for which A is packed.</summary>
    private const int FewestColumns = 128, FarApart = 1024;

    /// <summary>Rows of a group whose part of A does not fit the cache: many, so that B is read less often.</summary>
    private const int ManyRows = 64;

    private Action<KernelConfig, GpuGemmArguments, ArrayView<float>, SpecializedValue<ulong>>? pack;
    private Action<KernelConfig, GpuGemmArguments, ArrayView<float>, int, SpecializedValue<ulong>>? packRows;

    private bool? hasWideRegisters;

    /// <summary>True if the CPU has 32 registers of sixteen floats.</summary>
    private bool HasWideRegisters => hasWideRegisters ??= Accelerator.Device is CLDevice cl && cl.GetDeviceInfo<int>(CLDeviceInfoType.CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT) >= Line.Length;

    private long WorkspaceOfPanels(in GemmArguments g) =>
        g.Batch * (Tiles(g.N, WidthOfPanels(g.N)) * g.K * WidthOfPanels(g.N) + (PacksRows(g.N, g.K) ? Tiles(g.M, GpuGemmPanels.Rows) * g.K * GpuGemmPanels.Rows : 0));

    private int WidthOfPanels(int n) => HasWideRegisters && n > Line.Length ? 2 * Line.Length : Line.Length;

    /// <summary>True if A is packed too: with many steps of k its rows conflict in the cache or span many pages, and with enough columns packing pays.</summary>
    private static bool PacksRows(int n, int k) => n >= FewestColumns && k >= FarApart;

    private void GemmPanels<R>(GpuGemmArguments x, int batch, in R epilogue, ulong formats) where R : unmanaged, IMap6
    {
        // Rows of a group: their part of A stays in half a megabyte of cache, and every core gets several groups.
        int width = WidthOfPanels(x.N);
        formats |= width > Line.Length ? GpuGemmPanels.TwoLines : 0;
        x.TilesN = (x.N + width - 1) / width;
        int fitting = (1 << 17) / Math.Max(1, x.K), most = 16 * Accelerator.NumMultiprocessors;
        int rows = Math.Clamp(fitting < GpuGemmPanels.Rows ? ManyRows : fitting, 1, Math.Max(1, Math.Min(x.M, GpuGemmPanels.MaxSums / width)));
        while (rows > GpuGemmPanels.Rows && (long)batch * x.TilesN * ((x.M + rows - 1) / rows) < most)
            rows /= 2;
        rows = (rows + GpuGemmPanels.Rows - 1) / GpuGemmPanels.Rows * GpuGemmPanels.Rows;
        x.TilesM = (x.M + rows - 1) / rows;
        Block panels = Pool.Rent((long)batch * x.TilesN * x.K * width);
        ArrayView<float> packed = GpuMemory.View<float>(panels);
        pack ??= Load<GpuGemmArguments, ArrayView<float>, SpecializedValue<ulong>>(GpuGemmPanels.Pack);
        if (x.K > 0)
            pack((Groups((long)batch * x.TilesN * Tiles(x.K, GpuGemmPanels.PackDepth)), 1), x, packed, new(formats & (GpuGemmKernels.Factors | GpuGemmPanels.TwoLines)));

        bool packsRows = PacksRows(x.N, x.K);
        Block strips = packsRows ? Pool.Rent((long)batch * Tiles(x.M, GpuGemmPanels.Rows) * x.K * GpuGemmPanels.Rows) : default;
        ArrayView<float> packedRows = packsRows ? GpuMemory.View<float>(strips) : nothing.View;
        if (packsRows)
        {
            int count = (int)Tiles(x.M, GpuGemmPanels.Rows);
            packRows ??= Load<GpuGemmArguments, ArrayView<float>, int, SpecializedValue<ulong>>(GpuGemmPanels.PackRows);
            packRows((Groups((long)batch * count * Tiles(x.K, GpuGemmPanels.PackDepth)), 1), x, packedRows, count, new(formats & GpuGemmKernels.Factors));
            formats |= GpuGemmPanels.PackedRows;
        }

        if (!products.TryGetValue((typeof(R), Precision.F32), out Delegate? launcher))
            products[(typeof(R), Precision.F32)] = launcher = Load<GpuGemmArguments, ArrayView<float>, ArrayView<float>, int, R, SpecializedValue<ulong>>(GpuGemmPanels.Run);
        ((Action<KernelConfig, GpuGemmArguments, ArrayView<float>, ArrayView<float>, int, R, SpecializedValue<ulong>>)launcher)(
            (Groups((long)batch * x.TilesM * x.TilesN), 1), x, packedRows, packed, rows, epilogue, new(formats));
        Pool.Return(panels);
        if (packsRows)
            Pool.Return(strips);
    }
}
