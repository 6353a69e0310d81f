using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>
/// Checks of any optimizer, which its author need not write: every device agrees with double precision, the declared state is the whole
/// state, and steps allocate nothing. Gradients, shapes and tolerances are those of the
/// recorded trajectories; an optimizer with <see cref="OptimizerEntry.Equations"/> is also compared with them.
/// </summary>
public static class OptimizerChecks
{
    /// <summary>Learning rate and decay are large enough to be seen; ranks and heads fit the small shapes.</summary>
    public static OptimizerSettings Settings { get; } = new OptimizerSettings { LearningRate = 1e-2, WeightDecay = 0.1 }.With("rank", 4).With("head_size", 2).With("update_projection_gap", 20).With("precondition_frequency", 20);

    private const double NearFactor = 2;

    private static readonly int[] ThreadCounts = [1, 2, 3];

    /// <summary>Every check that this machine can run. Each runs when it is enumerated.</summary>
    /// <param name="entry">The optimizer.</param>
    /// <param name="settings">Its settings, or null for <see cref="Settings"/>.</param>
    public static IEnumerable<Check> All(OptimizerEntry entry, OptimizerSettings? settings = null) =>
        OnProcessor(entry, settings)
            .Concat(((string[])["ptx", "opencl"]).Select(target => Compiles(target, entry, settings)))
            .Concat(((string[])["cuda", "opencl"]).Select(kind => OnGpu(kind, entry, settings)));

    /// <summary>The checks that need no GPU.</summary>
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
                yield return Near($"{name}: stays close to f32", entry, stored);
        }

        yield return Clipped("clipping multiplies the gradient", entry, chosen, gradient: 4, factor: 0.25f, maximize: false);
        yield return Clipped("maximizing climbs", entry, chosen, gradient: -4, factor: 0.25f, maximize: true);
        yield return Scheduled("the schedule scales the learning rate", entry, chosen);
        yield return Allocations("a step allocates nothing", entry, chosen);
        yield return Decay("weight decay shrinks", entry, chosen);
    }

    /// <summary>Checks that the rules compile for a GPU; this needs no GPU.</summary>
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
            // The compiler throws many exception types.
            return new Check(name, double.NaN, 0, (e.InnerException ?? e).Message);
        }
    }

    /// <summary>Compares a kind of GPU with double precision; skipped if there is no such GPU.</summary>
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

    /// <summary>Compares a device with double precision, and two runs on it bit by bit.</summary>
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

    /// <summary>The declared bytes, which memory plans count, equal the allocated bytes, and all of them are returned.</summary>
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
            expected += tensors.Sum(tensor => MemoryPool.PersistentBytes(tensor.Bytes));
        }

        declared += counting.SharedState.Sum(tensor => tensor.Bytes);
        expected += counting.SharedState.Sum(tensor => MemoryPool.PersistentBytes(tensor.Bytes));
        long stated = run.Optimizer.StateBytes, taken = run.PoolBytesAfter - run.PoolBytesBefore;
        run.Optimizer.Dispose();
        long left = device.Pool.UsedBytes - run.PoolBytesBefore;
        run.Dispose();
        long error = Math.Abs(taken - expected) + Math.Abs(stated - declared) + Math.Abs(left);
        return new Check(name, error, 0, error == 0 ? $"{declared:N0} bytes"
            : $"{declared:N0} bytes are declared ({expected:N0} in whole blocks), {stated:N0} stated, {taken:N0} taken, {left:N0} not given back");
    }

    /// <summary>
    /// Narrow state goes where f32 state goes. Its distance from f32 may be <see cref="NearFactor"/> times the distance between two runs whose roundings are
    /// drawn differently: stochastic rounding has no direction of its own.
    /// </summary>
    private static Check Near(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        using var device = new CpuDevice(2);
        TrajectoryForm form = TrajectoryForm.Usual;
        using Trajectory narrow = Run(device, entry, settings, form), exact = Run(device, entry, settings with { StateType = StateStorage.F32 }, form);
        using var other = new Trajectory(device, entry, settings, form);
        foreach (ParameterState state in other.Optimizer.States)
            state.RoundingSeed = 1;
        other.To(form.Steps);
        double way = 0, apart = 0, spread = 0;
        for (int i = 0; i < exact.Parameters.Count; i++)
        {
            float[] start = form.Initial(i), right = exact.Parameters[i].ToArray(), here = narrow.Parameters[i].ToArray();
            way += Squares(right, start);
            apart += Squares(here, right);
            spread += Squares(here, other.Parameters[i].ToArray());
        }

        return new Check(name, Math.Sqrt(apart / way), NearFactor * Math.Sqrt(spread / way), "of the distance moved");
    }

    /// <summary>The same bits with a gradient multiplied by a power of two, and a factor of clipping (and a sign) that undoes it.</summary>
    private static Check Clipped(string name, OptimizerEntry entry, OptimizerSettings settings, float gradient, float factor, bool maximize)
    {
        using var device = new CpuDevice(2);
        TrajectoryForm form = TrajectoryForm.Shared;
        using Trajectory plain = Run(device, entry, settings, form), scaled = new(device, entry, settings, form with { GradientScale = gradient }, maximize);
        Block clip = device.Pool.Rent(1);
        device.Fill(clip, factor);
        scaled.Optimizer.GradientFactor = clip;
        scaled.To(form.Steps);
        device.Pool.Return(clip);
        return Same(name, plain, scaled);
    }

    /// <summary>The same bits with a learning rate multiplied by a power of two, and factors of the schedule that undo it.</summary>
    private static Check Scheduled(string name, OptimizerEntry entry, OptimizerSettings settings)
    {
        const double Scale = 4;
        using var device = new CpuDevice(2);
        double rate = settings.LearningRate ?? entry.Defaults.LearningRate;
        TrajectoryForm form = TrajectoryForm.Shared with { Warmup = 4 };
        using Trajectory plain = Run(device, entry, settings, form), scaled = Run(device, entry, settings with { LearningRate = Scale * rate }, form with { RateScale = 1 / Scale });
        return Same(name, plain, scaled);
    }

    /// <summary>The largest difference of two runs, relative to the norm of a parameter.</summary>
    private static Check Same(string name, Trajectory left, Trajectory right) =>
        Worst(left.Parameters.Zip(right.Parameters, (a, b) => Math.Sqrt(Squares(a.ToArray(), b.ToArray()) / Squares(a.ToArray(), new float[a.Length])))
            .Select(error => new Check(name, error, 1e-6, error > 0 ? "of the norm of a parameter" : "the same bits")));

    /// <summary>After the first steps an update allocates no device memory, and managed memory does not grow with the parameters.</summary>
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

    /// <summary>With zero gradients only weight decay changes a parameter: matrices must not grow.</summary>
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
        return new Check(name, ratio, 1, ratio == 1 ? "it has none" : $"of the norm remain after {TrajectoryForm.Still.Steps} steps without a gradient");
    }

    private static Trajectory Run(Device device, OptimizerEntry entry, OptimizerSettings settings, TrajectoryForm form)
    {
        var run = new Trajectory(device, entry, settings, form);
        run.To(form.Steps);
        return run;
    }

    /// <summary>A check for each tensor: the fraction of bytes that differ, which must be zero.</summary>
    private static IEnumerable<Check> Differences(string name, Trajectory left, Trajectory right, string prefix = "") =>
        left.Bits().Zip(right.Bits(), (a, b) =>
        {
            int differ = a.Bytes.Zip(b.Bytes).Count(pair => pair.First != pair.Second);
            return new Check(name, (double)differ / Math.Max(1, a.Bytes.Length), 0, differ == 0 ? null : $"{prefix}{differ} bytes of {a.Name} differ");
        });

    /// <summary>The check with the largest error relative to its bound; NaN counts as the largest.</summary>
    private static Check Worst(IEnumerable<Check> checks) => checks.MaxBy(check =>
        double.IsNaN(check.Error) ? double.PositiveInfinity : check.Bound == 0 ? (check.Error == 0 ? -1 : double.MaxValue) : check.Error / check.Bound)!;

    private static double Squares(float[] left, float[] right) => left.Zip(right, (a, b) => ((double)a - b) * ((double)a - b)).Sum();
}
