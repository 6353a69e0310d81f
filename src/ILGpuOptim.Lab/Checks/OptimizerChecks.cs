using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>
/// What any optimizer must hold, checked without a word from its author: it does on every device what it does in double precision, its
/// declared state is all that it remembers, and its steps cost what they say. Gradients, shapes and tolerances are those of the
/// recorded trajectories; where the author wrote the update out in doubles (<see cref="OptimizerEntry.Equations"/>), it is held against that.
/// </summary>
public static class OptimizerChecks
{
    /// <summary>Learning rate and decay are large enough to be seen; ranks and heads fit the small shapes.</summary>
    public static OptimizerSettings Settings { get; } = new() { LearningRate = 1e-2, WeightDecay = 0.1, Rank = 4, HeadSize = 4, UpdateProjectionGap = 20 };

    private static readonly int[] ThreadCounts = [1, 2, 3];

    /// <summary>Everything that can be checked on this machine, one after the other as it is asked for.</summary>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings, or null for <see cref="Settings"/>.</param>
    public static IEnumerable<Check> All(OptimizerEntry entry, OptimizerSettings? settings = null) =>
        OnProcessor(entry, settings)
            .Concat(((string[])["ptx", "opencl"]).Select(target => Compiles(target, entry, settings)))
            .Concat(((string[])["cuda", "opencl"]).Select(kind => OnGpu(kind, entry, settings)));

    /// <summary>Everything that needs the processor alone.</summary>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings, or null for <see cref="Settings"/>.</param>
    public static IEnumerable<Check> OnProcessor(OptimizerEntry entry, OptimizerSettings? settings = null)
    {
        OptimizerSettings chosen = (settings ?? Settings) with { Name = entry.Name };
        IReadOnlyList<ExpectedTrajectory> reference = ExpectedTrajectory.OfReference(entry, chosen);
        if (entry.Equations is not null)
        {
            IReadOnlyList<ExpectedTrajectory> equations = ExpectedTrajectory.OfEquations(entry, chosen);
            using (var device = new ReferenceDevice())
                yield return Follow("its equations, on the reference device", device, entry, chosen, equations);
            using (var device = new CpuDevice(2))
                yield return Follow("its equations, on the cpu", device, entry, chosen, equations);
        }

        foreach (int bits in (int[])[128, 256, 512])
        {
            using var device = new CpuDevice(2, bits);
            if (device.VectorBits == bits)
                yield return Follow($"double precision, in {bits}-bit vectors", device, entry, chosen, reference);
        }

        foreach (StateStorage storage in Enum.GetValues<StateStorage>())
        {
            OptimizerSettings stored = chosen with { StateType = storage };
            string name = $"{storage.ToString().ToLowerInvariant()} state";
            yield return Threads($"{name}: the same bits with {string.Join(", ", ThreadCounts)} threads", entry, stored);
            yield return Resume($"{name}: the same bits after a resume", entry, stored);
            yield return Bytes($"{name}: declared bytes are allocated", entry, stored);
            if (storage != StateStorage.F32)
                yield return Near($"{name}: goes where f32 goes", entry, stored);
        }

        yield return Allocations("a step allocates nothing", entry, chosen);
        yield return Decay("weight decay shrinks", entry, chosen);
    }

    /// <summary>Whether a GPU's compiler takes the rules; this needs no GPU.</summary>
    /// <param name="target">One of <see cref="KernelRecorder.Targets"/>.</param>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings, or null for <see cref="Settings"/>.</param>
    public static Check Compiles(string target, OptimizerEntry entry, OptimizerSettings? settings = null)
    {
        string name = $"compiles to {(target == "ptx" ? "PTX" : "OpenCL C")}";
        using var recorder = new KernelRecorder();
        KernelListing.RecordUpdate(recorder, entry, settings ?? Settings, 96, 64);
        try
        {
            int count = recorder.Compile(target).Count;
            return new Check(name, 0, 0, count == 1 ? "1 kernel" : $"{count} kernels");
        }
        catch (Exception e)
        {
            // Whatever the compiler says about somebody's rule: it has an exception type for each complaint.
            return new Check(name, double.NaN, 0, (e.InnerException ?? e).Message);
        }
    }

    /// <summary>Whether a kind of GPU does what double precision does; skipped where there is none.</summary>
    /// <param name="kind"><c>cuda</c> or <c>opencl</c>, or one by its number such as <c>cuda:1</c>.</param>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings, or null for <see cref="Settings"/>.</param>
    public static Check OnGpu(string kind, OptimizerEntry entry, OptimizerSettings? settings = null)
    {
        try
        {
            using Device device = Devices.Open(kind);
            return On(device, entry, settings);
        }
        catch (DeviceException e)
        {
            return new Check(kind, 0, 0, e.Message) { IsSkipped = true };
        }
    }

    /// <summary>Whether a device does what double precision does, and the same bits twice.</summary>
    /// <param name="device">Any.</param>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings, or null for <see cref="Settings"/>.</param>
    public static Check On(Device device, OptimizerEntry entry, OptimizerSettings? settings = null)
    {
        OptimizerSettings chosen = (settings ?? Settings) with { Name = entry.Name };
        string name = $"double precision, on {device.Name}, twice the same bits";
        Check check = Follow(name, device, entry, chosen, ExpectedTrajectory.OfReference(entry, chosen));
        using Trajectory first = Run(device, entry, chosen, TrajectoryForm.Shared), second = Run(device, entry, chosen, TrajectoryForm.Shared);
        return Worst([check, .. Differences(name, first, second)]);
    }

    private static Check Follow(string name, Device device, OptimizerEntry entry, OptimizerSettings settings, IReadOnlyList<ExpectedTrajectory> expected) =>
        Worst(expected.Select(trajectory => trajectory.Compare(name, device, entry, settings)));

    private static Check Threads(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        CpuDevice[] devices = [.. ThreadCounts.Select(threads => new CpuDevice(threads))];
        Trajectory[] runs = [.. devices.Select(device => Run(device, entry, settings, TrajectoryForm.Shared))];
        Check check = Worst(runs.Skip(1).Zip(ThreadCounts.Skip(1)).SelectMany(pair => Differences(name, runs[0], pair.First, $"{pair.Second} threads: ")));
        foreach ((Trajectory run, CpuDevice device) in runs.Zip(devices))
        {
            run.Dispose();
            device.Dispose();
        }

        return check;
    }

    private static Check Resume(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        using var device = new CpuDevice(2);
        using var other = new CpuDevice(1);
        TrajectoryForm form = TrajectoryForm.Shared;
        using var whole = new Trajectory(device, entry, settings, form);
        whole.To(form.Steps / 2);
        using Trajectory resumed = whole.Resumed(other, entry, settings);
        whole.To(form.Steps);
        resumed.To(form.Steps);
        return Worst(Differences(name, whole, resumed));
    }

    /// <summary>What plans count is what an optimizer takes, byte for byte, and all of it comes back.</summary>
    private static Check Bytes(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        using var device = new CpuDevice(1);
        Trajectory run = Run(device, entry, settings, TrajectoryForm.Edge);
        long declared = 0, expected = 0;
        using Optimizer counting = entry.Create(settings.StateType);
        foreach (Parameter parameter in run.Parameters)
        {
            IReadOnlyList<StateTensor> tensors = counting.StateOf(parameter.Shape, entry.OptionsOf(settings, parameter.Name, parameter.Shape));
            declared += tensors.Sum(tensor => tensor.Bytes);
            expected += tensors.Sum(tensor => MemoryPool.KeptBytes(tensor.Bytes));
        }

        long stated = run.Optimizer.StateBytes, taken = run.LentAfter - run.LentBefore;
        run.Optimizer.Dispose();
        long left = device.Pool.LentBytes - run.LentBefore;
        run.Dispose();
        long error = Math.Abs(taken - expected) + Math.Abs(stated - declared) + Math.Abs(left);
        return new Check(name, error, 0, error == 0 ? $"{declared:N0} bytes"
            : $"{declared:N0} bytes are declared ({expected:N0} in whole blocks), {stated:N0} stated, {taken:N0} taken, {left:N0} not given back");
    }

    /// <summary>Stochastic rounding leaves the way in place: a quarter of its length is allowed beside it.</summary>
    private static Check Near(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        using var device = new CpuDevice(2);
        using Trajectory narrow = Run(device, entry, settings, TrajectoryForm.Usual), exact = Run(device, entry, settings with { StateType = StateStorage.F32 }, TrajectoryForm.Usual);
        double way = 0, apart = 0;
        for (int i = 0; i < exact.Parameters.Count; i++)
        {
            float[] start = TrajectoryForm.Usual.Initial(i), right = exact.Parameters[i].ToArray(), here = narrow.Parameters[i].ToArray();
            way += Squares(right, start);
            apart += Squares(here, right);
        }

        return new Check(name, Math.Sqrt(apart / way), 0.25, "of the way apart");
    }

    /// <summary>After the first steps an update takes all device memory from the pool, and from the managed heap no more for larger parameters.</summary>
    private static Check Allocations(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        const int Few = 2048;
        var (_, smallBytes) = Measure(TrajectoryForm.Usual with { Shapes = [.. TrajectoryForm.Usual.Shapes.Where(item => item.Name is "attn.wide" or "attn.vector" or "attn.cube")] });
        var (allocations, bytes) = Measure(TrajectoryForm.Shared with { Shapes = [.. TrajectoryForm.Shared.Shapes.Where(item => item.Name is "attn.wide" or "attn.vector" or "attn.cube")] });
        long error = allocations > 0 ? long.MaxValue : Math.Max(bytes, bytes > smallBytes ? 16 * (bytes - smallBytes) : 0);
        return new Check(name, error, Few, $"{allocations} device allocations, {bytes} bytes of the managed heap for {TrajectoryForm.Shared.Shapes.Count - 2} large parameters, {smallBytes} for small ones");

        (long Allocations, long Bytes) Measure(TrajectoryForm form)
        {
            const int Steps = 8;
            using var device = new CpuDevice(1);
            using Trajectory run = Run(device, entry, settings, form with { Steps = 5 });
            long before = device.Pool.Allocations, managed = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < Steps; i++)
                run.Optimizer.Step(run.Gradients);
            return (device.Pool.Allocations - before, (GC.GetAllocatedBytesForCurrentThread() - managed) / Steps);
        }
    }

    /// <summary>With zero gradients nothing but decay moves a parameter: matrices must not grow.</summary>
    private static Check Decay(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        using var device = new CpuDevice(2);
        using Trajectory run = Run(device, entry, settings, TrajectoryForm.Still);
        double before = 0, after = 0;
        for (int i = 0; i < run.Parameters.Count; i++)
        {
            float[] start = TrajectoryForm.Still.Initial(i);
            before += Squares(start, new float[start.Length]);
            after += Squares(run.Parameters[i].ToArray(), new float[start.Length]);
        }

        double ratio = Math.Sqrt(after / before);
        return new Check(name, ratio, 1, ratio == 1 ? "it has none" : $"of the norm are left after {TrajectoryForm.Still.Steps} steps without a gradient");
    }

    private static Trajectory Run(Device device, OptimizerEntry entry, OptimizerSettings settings, TrajectoryForm form)
    {
        var run = new Trajectory(device, entry, settings, form);
        run.To(form.Steps);
        return run;
    }

    /// <summary>A check for each tensor: the part of its bytes that differ, which must be none.</summary>
    private static IEnumerable<Check> Differences(string name, Trajectory left, Trajectory right, string prefix = "") =>
        left.Bits().Zip(right.Bits(), (a, b) =>
        {
            int differ = a.Bytes.Zip(b.Bytes).Count(pair => pair.First != pair.Second);
            return new Check(name, (double)differ / Math.Max(1, a.Bytes.Length), 0, differ == 0 ? null : $"{prefix}{differ} bytes of {a.Name} differ");
        });

    /// <summary>The check furthest beyond its bound; a NaN is further than all.</summary>
    private static Check Worst(IEnumerable<Check> checks) => checks.MaxBy(check =>
        double.IsNaN(check.Error) ? double.PositiveInfinity : check.Bound == 0 ? (check.Error == 0 ? -1 : double.MaxValue) : check.Error / check.Bound)!;

    private static double Squares(float[] left, float[] right) => left.Zip(right, (a, b) => ((double)a - b) * ((double)a - b)).Sum();
}
