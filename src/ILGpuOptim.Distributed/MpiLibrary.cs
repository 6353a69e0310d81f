using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Distributed;

/// <summary>The functions of an MPI library that was found when the program runs.</summary>
internal sealed unsafe partial class MpiLibrary
{
    /// <summary>The environment variable with the path of the library, instead of a search.</summary>
    public const string PathVariable = "ILGPUOPTIM_MPI";

    private const int MaxText = 8192;

    private readonly delegate* unmanaged<nint, nint, int, int*, int> initThread;
    private readonly delegate* unmanaged<nint, int*, int> rank, size;
    private readonly delegate* unmanaged<nint, nint, int> setErrorHandler;
    private readonly delegate* unmanaged<byte*, int, nint, int, int, nint, nint*, int> send, receive;
    private readonly delegate* unmanaged<nint*, int*, nint, int> test;
    private readonly delegate* unmanaged<nint, int, int> abort;
    private readonly delegate* unmanaged<int> finish;
    private readonly delegate* unmanaged<int, byte*, int*, int> errorText;
    private readonly delegate* unmanaged<byte*, int*, int> version;
    private readonly MpiAbi abi;

    private MpiLibrary(nint library, MpiAbi abi)
    {
        this.abi = abi.In(library);
        initThread = (delegate* unmanaged<nint, nint, int, int*, int>)NativeLibrary.GetExport(library, "MPI_Init_thread");
        rank = (delegate* unmanaged<nint, int*, int>)NativeLibrary.GetExport(library, "MPI_Comm_rank");
        size = (delegate* unmanaged<nint, int*, int>)NativeLibrary.GetExport(library, "MPI_Comm_size");
        setErrorHandler = (delegate* unmanaged<nint, nint, int>)NativeLibrary.GetExport(library, "MPI_Comm_set_errhandler");
        send = (delegate* unmanaged<byte*, int, nint, int, int, nint, nint*, int>)NativeLibrary.GetExport(library, "MPI_Isend");
        receive = (delegate* unmanaged<byte*, int, nint, int, int, nint, nint*, int>)NativeLibrary.GetExport(library, "MPI_Irecv");
        test = (delegate* unmanaged<nint*, int*, nint, int>)NativeLibrary.GetExport(library, "MPI_Test");
        abort = (delegate* unmanaged<nint, int, int>)NativeLibrary.GetExport(library, "MPI_Abort");
        finish = (delegate* unmanaged<int>)NativeLibrary.GetExport(library, "MPI_Finalize");
        errorText = (delegate* unmanaged<int, byte*, int*, int>)NativeLibrary.GetExport(library, "MPI_Error_string");
        version = (delegate* unmanaged<byte*, int*, int>)NativeLibrary.GetExport(library, "MPI_Get_library_version");
    }

    /// <summary>The name of the interface.</summary>
    public string Name => abi.Name;

    /// <summary>Finds a library: the one of the path variable, else that of the launcher, else one with the standard ABI, else the first there is.</summary>
    /// <exception cref="CommunicationException">There is none, or it lacks functions.</exception>
    public static MpiLibrary Load()
    {
        if (sizeof(nint) != 8 || !BitConverter.IsLittleEndian || OperatingSystem.IsWindows())
            throw new CommunicationException("MPI is supported on 64-bit little-endian Linux only; on other systems, train with threads (ThreadCommunicator)");
        LeaveMemoryFunctionsAlone();
        string? path = Environment.GetEnvironmentVariable(PathVariable);
        try
        {
            if (path is { Length: > 0 })
            {
                nint named = NativeLibrary.Load(path);
                return new MpiLibrary(named, MpiAbi.Of(named, path));
            }

            // The launcher's own ABI first: a library with the standard one may belong to the other implementation.
            MpiAbi[] order = Launcher.IsOpenMpi ? [MpiAbi.OpenMpi, MpiAbi.Standard, MpiAbi.Mpich] : [MpiAbi.Mpich, MpiAbi.Standard, MpiAbi.OpenMpi];
            foreach (MpiAbi abi in order)
            {
                if (NativeLibrary.TryLoad(abi.Library, out nint library))
                    return new MpiLibrary(library, abi);
            }

            throw new CommunicationException($"there is no MPI library ({string.Join(", ", order.Select(abi => $"{abi.Library} of {abi.Name}"))}); install the one that mpirun belongs to, or name its file in {PathVariable}");
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException or EntryPointNotFoundException)
        {
            throw new CommunicationException($"{PathVariable} {path}: this is not a usable MPI library: {FirstLine(e.Message)}", e);
        }
    }

    /// <summary>
    /// Keeps MPI from overwriting the first instructions of libc's <c>mmap</c>, <c>munmap</c>, <c>madvise</c> and others, which threads of .NET run meanwhile: UCX
    /// does so when it is loaded, and moves the end of the heap as a test; Open MPI does so in <c>MPI_Init</c>. A thread that is inside of such a function, or that
    /// grows the heap, then ends with a segmentation fault. Variables that are set already stay.
    /// </summary>
    private static void LeaveMemoryFunctionsAlone()
    {
        // Environment.SetEnvironmentVariable does not change the environment that C libraries see.
        _ = SetEnvironment("UCX_MEM_EVENTS", "no", 0);
        _ = SetEnvironment("OMPI_MCA_memory", "^patcher", 0);
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetEnvironment(string name, string value, int overwrite);

    /// <summary>Begins communication.</summary>
    public void Start()
    {
        int provided;
        Check(initThread(0, 0, abi.Serialized, &provided), "MPI_Init_thread");
        Check(setErrorHandler(abi.World, abi.ErrorsReturn), "MPI_Comm_set_errhandler");
    }

    /// <summary>The number of this process.</summary>
    public int Rank
    {
        get
        {
            int value;
            Check(rank(abi.World, &value), "MPI_Comm_rank");
            return value;
        }
    }

    /// <summary>The number of processes.</summary>
    public int Size
    {
        get
        {
            int value;
            Check(size(abi.World, &value), "MPI_Comm_size");
            return value;
        }
    }

    /// <summary>The first line of the library's description of itself.</summary>
    public string Version
    {
        get
        {
            byte[] text = new byte[MaxText];
            int length = 0;
            fixed (byte* pointer = text)
                _ = version(pointer, &length);
            return FirstLine(Encoding.UTF8.GetString(text, 0, Math.Clamp(length, 0, MaxText)));
        }
    }

    /// <summary>Starts sending; the memory must not change or move before <see cref="IsDone"/>.</summary>
    public nint Send(byte* bytes, int count, int to)
    {
        nint request = 0;
        Check(send(bytes, count, abi.Byte, to, 0, abi.World, &request), "MPI_Isend");
        return request;
    }

    /// <summary>Starts receiving, as <see cref="Send"/>.</summary>
    public nint Receive(byte* bytes, int count, int from)
    {
        nint request = 0;
        Check(receive(bytes, count, abi.Byte, from, 0, abi.World, &request), "MPI_Irecv");
        return request;
    }

    /// <summary>True once a request is complete, which is then forgotten; lets the library make progress.</summary>
    public bool IsDone(ref nint request)
    {
        int flag = 0;
        nint own = request;
        int code = test(&own, &flag, abi.IgnoreStatus);
        request = own;
        Check(code, "MPI_Test");
        return flag != 0;
    }

    /// <summary>Ends all processes, this one too.</summary>
    public void Abort(int code) => _ = abort(abi.World, code);

    /// <summary>Ends communication; waits for the others.</summary>
    public void Finish() => _ = finish();

    private void Check(int code, string function)
    {
        if (code == 0)
            return;
        byte[] text = new byte[MaxText];
        int length = 0;
        fixed (byte* pointer = text)
            _ = errorText(code, pointer, &length);
        throw new CommunicationException($"{Name}: {function} failed: {FirstLine(Encoding.UTF8.GetString(text, 0, Math.Clamp(length, 0, MaxText)))}");
    }

    private static string FirstLine(string text) => text.Split('\n', '\0')[0].Trim().TrimEnd('.');
}
