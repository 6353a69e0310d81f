using System.Runtime.InteropServices;

namespace ILGpuOptim.Distributed;

/// <summary>
/// A binary interface of MPI: the library's name and its handles. Handles are passed in registers of 64 bits whatever their type in C, which on little-endian
/// 64-bit processors suits both MPICH's integers and the pointers of the others.
/// </summary>
/// <param name="Name">The name for people.</param>
/// <param name="Library">The file that the loader searches.</param>
/// <param name="Serialized">The value of <c>MPI_THREAD_SERIALIZED</c>.</param>
/// <param name="IgnoreStatus">The value of <c>MPI_STATUS_IGNORE</c>.</param>
internal sealed record MpiAbi(string Name, string Library, int Serialized, nint IgnoreStatus)
{
    /// <summary>The standard ABI of MPI 5.0 (2025), section 20.</summary>
    public static readonly MpiAbi Standard = new("MPI 5", "libmpi_abi.so.1", 2048, 0) { World = 0x101, Byte = 0x247, ErrorsReturn = 0x143 };

    /// <summary>MPICH and those that share its ABI (Intel MPI, Cray MPICH, MVAPICH).</summary>
    public static readonly MpiAbi Mpich = new("MPICH", "libmpi.so.12", 2, 1) { World = 0x44000000, Byte = 0x4c00010d, ErrorsReturn = 0x54000001 };

    /// <summary>Open MPI from 4.0 on, whose handles are addresses of symbols.</summary>
    public static readonly MpiAbi OpenMpi = new("Open MPI", "libmpi.so.40", 2, 0);

    /// <summary>The handle <c>MPI_COMM_WORLD</c>.</summary>
    public nint World { get; private init; }

    /// <summary>The handle <c>MPI_BYTE</c>.</summary>
    public nint Byte { get; private init; }

    /// <summary>The handle <c>MPI_ERRORS_RETURN</c>.</summary>
    public nint ErrorsReturn { get; private init; }

    /// <summary>The interface with the handles of a loaded library.</summary>
    public MpiAbi In(nint library) => this != OpenMpi ? this : this with
    {
        World = NativeLibrary.GetExport(library, "ompi_mpi_comm_world"),
        Byte = NativeLibrary.GetExport(library, "ompi_mpi_byte"),
        ErrorsReturn = NativeLibrary.GetExport(library, "ompi_mpi_errors_return"),
    };

    /// <summary>The interface of a loaded library, by the symbols that only one of them has.</summary>
    public static MpiAbi Of(nint library, string path) =>
        NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out _) ? OpenMpi
        : Path.GetFileName(path).StartsWith("libmpi_abi", StringComparison.Ordinal) ? Standard : Mpich;
}
