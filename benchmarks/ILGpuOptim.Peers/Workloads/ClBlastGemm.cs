using System.Runtime.InteropServices;

namespace PeerBenchmarks.Workloads;

/// <summary>
/// Matrix products by CLBlast on the first OpenCL device. Its tuners' results, when <c>run.sh opencl-tune</c> has written them, are
/// taken; of their fastest parameters, and of its two ways to multiply (with and without preparing the factors), each shape gets those
/// that are fastest there. Its workspace is allocated once, as ours comes from a pool.
/// </summary>
internal sealed unsafe partial class ClBlastGemm : Workload
{
    private const string OpenCl = "libOpenCL.so.1", Library = "libclblast.so.1";
    private const int RowMajor = 101, AsStored = 111, Transposed = 112, Single = 32, AllDevices = -1, PlatformVersion = 0x0901, DeviceName = 0x102B;

    /// <summary>Sizes whose cube root lies below this are multiplied without preparing the factors.</summary>
    private static readonly (string, nuint)[] Always = [("XGEMM_MIN_INDIRECT_SIZE", 0)], Never = [("XGEMM_MIN_INDIRECT_SIZE", 1 << 30)];

    private readonly nint device, context;
    private readonly ClBlastTuning tuning = new(Path.Combine(AppContext.BaseDirectory, "clblast"));
    private readonly string version;
    private GemmShape shape = GemmShape.All[0];
    private nint queue, a, b, c, workspace;

    public ClBlastGemm()
    {
        nint platform;
        Check(clGetPlatformIDs(1, &platform, null));
        fixed (nint* first = &device)
            Check(clGetDeviceIDs(platform, AllDevices & 0xFFFFFFFF, 1, first, null));
        nint one = device;
        int error;
        context = clCreateContext(null, 1, &one, 0, 0, &error);
        Check(error);
        queue = clCreateCommandQueue(context, device, 0, &error);
        Check(error);
        byte* text = stackalloc byte[512];
        Check(clGetPlatformInfo(platform, PlatformVersion, 512, text, null));
        version = Marshal.PtrToStringUTF8((nint)text)!;
        Check(clGetDeviceInfo(device, DeviceName, 512, text, null));
        version = $"{Marshal.PtrToStringUTF8((nint)text)}, {version}";
        foreach (var (kernel, parameters) in tuning.Fixed)
            Override(kernel, parameters);
    }

    public override string Description => $"{(tuning.IsEmpty ? "not tuned: the parameters of its own database" : tuning.Description)}; {version}";

    public override void Prepare(string @case)
    {
        foreach (nint buffer in new[] { a, b, c, workspace })
            if (buffer != 0)
                Check(clReleaseMemObject(buffer));
        shape = GemmShape.Named(@case);
        var random = new Random(1);
        float[] left = Numbers((long)shape.M * shape.K), right = Numbers((long)shape.K * shape.N), result = Numbers((long)shape.M * shape.N);
        (a, b, c) = (Buffer(left), Buffer(right), Buffer(result));
        nuint size = 64;
        Override("GemmRoutine", Always);
        foreach (var parameters in tuning.Xgemm.DefaultIfEmpty([]))
        {
            // How much it needs depends on the parameters.
            if (parameters.Length > 0)
                Override("Xgemm", parameters);
            nuint needed = 0;
            fixed (nint* q = &queue)
                Check(CLBlastSGemmTempBufferSize(RowMajor, TransposeA, TransposeB, (nuint)shape.M, (nuint)shape.N, (nuint)shape.K, 0, StrideA, 0, StrideB, 0, (nuint)shape.N, q, &needed));
            size = Math.Max(size, needed);
        }

        int error;
        workspace = clCreateBuffer(context, 1, size, null, &error);
        Check(error);

        (double Time, (string, nuint)[] Way, string? Kernel, (string, nuint)[]? Parameters) best = (double.PositiveInfinity, Always, null, null);
        foreach (var (way, kernel, candidates) in new[] { (Always, "Xgemm", tuning.Xgemm), (Never, "XgemmDirect", tuning.Direct) })
        {
            Override("GemmRoutine", way);
            foreach (var parameters in candidates.DefaultIfEmpty([]))
            {
                if (parameters.Length > 0)
                    Override(kernel, parameters);
                double time = Measure();
                if (time < best.Time)
                    best = (time, way, kernel, parameters);
            }
        }

        if (best.Parameters is { Length: > 0 } chosen)
            Override(best.Kernel!, chosen);
        Override("GemmRoutine", best.Way);
        Verify(left, right, result);

        float[] Numbers(long count)
        {
            var numbers = new float[count];
            foreach (ref float number in numbers.AsSpan())
                number = random.NextSingle() - 0.5f;
            return numbers;
        }
    }

    public override void Run()
    {
        fixed (nint* q = &queue)
            Check(CLBlastSgemmWithTempBuffer(
                RowMajor, TransposeA, TransposeB, (nuint)shape.M, (nuint)shape.N, (nuint)shape.K, 1, a, 0, StrideA, b, 0, StrideB, 0, c, 0, (nuint)shape.N, q, null, workspace));
        Check(clFinish(queue));
    }

    private int TransposeA => shape.TransposeA ? Transposed : AsStored;

    private int TransposeB => shape.TransposeB ? Transposed : AsStored;

    private nuint StrideA => (nuint)(shape.TransposeA ? shape.M : shape.K);

    private nuint StrideB => (nuint)(shape.TransposeB ? shape.K : shape.N);

    /// <summary>The least of some times, in seconds, after one run that compiles.</summary>
    private double Measure()
    {
        Run();
        double least = double.PositiveInfinity;
        for (int i = 0; i < 4; i++)
        {
            var clock = System.Diagnostics.Stopwatch.StartNew();
            Run();
            least = Math.Min(least, clock.Elapsed.TotalSeconds);
        }

        return least;
    }

    /// <summary>Holds two elements of the result against sums in double precision.</summary>
    private void Verify(float[] left, float[] right, float[] result)
    {
        Run();
        fixed (float* target = result)
            Check(clEnqueueReadBuffer(queue, c, 1, 0, (nuint)result.LongLength * sizeof(float), target, 0, null, null));
        foreach (var (row, column) in new[] { (0, shape.N - 1), (shape.M - 1, shape.N / 2) })
        {
            double sum = 0;
            for (long k = 0; k < shape.K; k++)
                sum += (double)left[shape.TransposeA ? k * shape.M + row : (long)row * shape.K + k] * right[shape.TransposeB ? (long)column * shape.K + k : k * shape.N + column];
            float value = result[(long)row * shape.N + column];
            if (!(Math.Abs(value - sum) < 1e-3))
                throw new InvalidOperationException($"CLBlast: {shape} gave {value} at ({row}, {column}) instead of {sum}");
        }
    }

    private nint Buffer(float[] numbers)
    {
        const ulong ReadWriteCopy = 1 | 32;
        int error;
        fixed (float* source = numbers)
        {
            nint buffer = clCreateBuffer(context, ReadWriteCopy, (nuint)numbers.LongLength * sizeof(float), source, &error);
            Check(error);
            return buffer;
        }
    }

    private void Override(string kernel, (string Name, nuint Value)[] parameters)
    {
        nint[] names = Array.ConvertAll(parameters, parameter => Marshal.StringToCoTaskMemUTF8(parameter.Name));
        nuint[] values = Array.ConvertAll(parameters, parameter => parameter.Value);
        fixed (nint* first = names)
        fixed (nuint* firstValue = values)
            Check(CLBlastOverrideParameters(device, kernel, Single, (nuint)names.Length, first, firstValue));
        Array.ForEach(names, Marshal.FreeCoTaskMem);
    }

    private static void Check(int status)
    {
        if (status != 0)
            throw new InvalidOperationException($"OpenCL or CLBlast: status {status}");
    }

    [LibraryImport(OpenCl)]
    private static partial int clGetPlatformIDs(uint count, nint* platforms, uint* found);

    [LibraryImport(OpenCl)]
    private static partial int clGetDeviceIDs(nint platform, ulong type, uint count, nint* devices, uint* found);

    [LibraryImport(OpenCl)]
    private static partial int clGetPlatformInfo(nint platform, uint name, nuint size, byte* value, nuint* needed);

    [LibraryImport(OpenCl)]
    private static partial int clGetDeviceInfo(nint device, uint name, nuint size, byte* value, nuint* needed);

    [LibraryImport(OpenCl)]
    private static partial nint clCreateContext(nint* properties, uint count, nint* devices, nint notify, nint data, int* error);

    [LibraryImport(OpenCl)]
    private static partial nint clCreateCommandQueue(nint context, nint device, ulong properties, int* error);

    [LibraryImport(OpenCl)]
    private static partial nint clCreateBuffer(nint context, ulong flags, nuint size, void* host, int* error);

    [LibraryImport(OpenCl)]
    private static partial int clReleaseMemObject(nint buffer);

    [LibraryImport(OpenCl)]
    private static partial int clEnqueueReadBuffer(nint queue, nint buffer, uint blocks, nuint offset, nuint size, void* target, uint count, nint* waits, nint* done);

    [LibraryImport(OpenCl)]
    private static partial int clFinish(nint queue);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CLBlastOverrideParameters(nint device, string kernel, int precision, nuint count, nint* names, nuint* values);

    [LibraryImport(Library)]
    private static partial int CLBlastSGemmTempBufferSize(
        int layout, int transposeA, int transposeB, nuint m, nuint n, nuint k, nuint offsetA, nuint strideA, nuint offsetB, nuint strideB, nuint offsetC, nuint strideC, nint* queue, nuint* size);

    [LibraryImport(Library)]
    private static partial int CLBlastSgemmWithTempBuffer(
        int layout, int transposeA, int transposeB, nuint m, nuint n, nuint k, float alpha, nint a, nuint offsetA, nuint strideA,
        nint b, nuint offsetB, nuint strideB, float beta, nint c, nuint offsetC, nuint strideC, nint* queue, nint* done, nint workspace);
}
