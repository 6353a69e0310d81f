using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>Parameters, gradients and schedule of a trajectory; starting values and gradients use the hash of recorded ones (<see cref="GoldenParameter"/>).</summary>
/// <param name="Name">The name in reports.</param>
/// <param name="Seed">Differs from the seeds of the other forms.</param>
/// <param name="Shapes">The parameters.</param>
/// <param name="Steps">Number of updates.</param>
internal sealed record TrajectoryForm(string Name, uint Seed, IReadOnlyList<(string Name, int[] Shape)> Shapes, int Steps)
{
    /// <summary>Names of matrices that low-rank methods project.</summary>
    private static readonly (string, int[])[] Small =
    [
        ("attn.wide", [8, 24]), ("attn.tall", [24, 8]), ("attn.square", [16, 16]), ("attn.large", [96, 64]), ("attn.odd", [31, 33]),
        ("attn.vector", [32]), ("attn.scalar", [1]), ("attn.long", [4097]), ("attn.cube", [4, 6, 5]),
    ];

    /// <summary>Large enough to be split among threads.</summary>
    private static readonly (string, int[])[] Large =
        [("attn.wide", [67, 257]), ("attn.tall", [257, 67]), ("attn.vector", [20001]), ("attn.scalar", [1]), ("attn.cube", [3, 40, 141])];

    /// <summary>Steps whose gradients are zero.</summary>
    public IReadOnlyList<int> ZeroSteps { get; init; } = [];

    /// <summary>Steps whose gradients are ten thousand times too large.</summary>
    public IReadOnlyList<int> HugeSteps { get; init; } = [];

    /// <summary>Multiplies every gradient.</summary>
    public float GradientScale { get; init; } = 1;

    /// <summary>Multiplies the factor of the learning rate in every step.</summary>
    public double RateScale { get; init; } = 1;

    /// <summary>Number of warm-up steps of the learning rate.</summary>
    public int Warmup { get; init; } = 1;

    /// <summary>The steps after which parameters are compared.</summary>
    public IEnumerable<int> ComparedSteps => ((int[])[1, 2, 10, 60]).Where(step => step <= Steps);

    /// <summary>Warm-up and ordinary gradients.</summary>
    public static TrajectoryForm Usual { get; } = new("usual gradients", 101, Small, 60) { Warmup = 10 };

    /// <summary>Gradients that vanish and explode.</summary>
    public static TrajectoryForm Edge { get; } = new("zero and huge gradients", 102, Small, 60) { ZeroSteps = [5, 30], HugeSteps = [20] };

    /// <summary>A short trajectory over parameters that several threads share.</summary>
    public static TrajectoryForm Shared { get; } = new("shared by threads", 103, Large, 8) { ZeroSteps = [5] };

    /// <summary>All gradients are zero.</summary>
    public static TrajectoryForm Still { get; } = new("zero gradients", 104, Small, 20) { ZeroSteps = [.. Enumerable.Range(1, 20)] };

    /// <summary>The factor of the learning rate at a step, from 1.</summary>
    public double Factor(int step) => RateScale * Math.Min(1, (double)step / Warmup);

    /// <summary>The values of a parameter before the first step.</summary>
    public float[] Initial(int parameter) => GoldenParameter.InitialOf(SeedOf(parameter), Length(parameter));

    /// <summary>The gradient of a parameter at a step, from 1.</summary>
    public float[] Gradient(int parameter, int step) =>
        ZeroSteps.Contains(step) ? new float[Length(parameter)]
        : GradientScale == 1 ? GoldenParameter.GradientOf(SeedOf(parameter), Shapes[parameter].Shape, step, HugeSteps.Contains(step))
        : Array.ConvertAll((this with { GradientScale = 1 }).Gradient(parameter, step), value => GradientScale * value);

    private uint SeedOf(int parameter) => Seed * 64 + (uint)parameter;

    private int Length(int parameter) => Shapes[parameter].Shape.Aggregate(1, (product, size) => product * size);
}

/// <summary>An optimizer that runs along a form.</summary>
internal sealed class Trajectory : IDisposable
{
    /// <summary>Steps between estimates of the curvature, for optimizers with one.</summary>
    private const int CurvatureInterval = 3;

    private readonly TrajectoryForm form;
    private readonly Parameter[] parameters;
    private int step;

    public Trajectory(Device device, OptimizerEntry entry, OptimizerSettings settings, TrajectoryForm form, bool maximize = false)
    {
        this.form = form;
        Gradients = new Gradients(device);
        parameters = [.. form.Shapes.Select(item => new Parameter(device, $"h.0.{item.Name}", item.Shape))];
        for (int i = 0; i < parameters.Length; i++)
        {
            parameters[i].Load(form.Initial(i));
            Gradients.Target(parameters[i], out _);
        }

        PoolBytesBefore = device.Pool.UsedBytes;
        Optimizer = maximize ? Climbing(entry, settings) : Registry.Create(entry, settings, parameters, out _);
        PoolBytesAfter = device.Pool.UsedBytes;
    }

    public Optimizer Optimizer { get; }

    /// <summary>Pool bytes in use before the optimizer allocates its state.</summary>
    public long PoolBytesBefore { get; }

    /// <summary>Pool bytes in use after the optimizer has allocated its state.</summary>
    public long PoolBytesAfter { get; }

    public IReadOnlyList<Parameter> Parameters => parameters;

    public Gradients Gradients { get; }

    /// <summary>Runs until a step.</summary>
    public void To(int target)
    {
        for (; step < target; step++)
        {
            for (int i = 0; i < parameters.Length; i++)
                parameters[i].Device.Upload(form.Gradient(i, step + 1), Gradients[parameters[i]]);
            Optimizer.LearningRateFactor = form.Factor(step + 1);
            Optimizer.Step(Gradients);
            if (Optimizer is ICurvatureOptimizer curvature && (step + 1) % CurvatureInterval == 0)
                Estimate(curvature);
        }
    }

    /// <summary>Estimates the curvature from gradients that no clipping scales.</summary>
    private void Estimate(ICurvatureOptimizer curvature)
    {
        for (int i = 0; i < parameters.Length; i++)
            parameters[i].Device.Upload((form with { GradientScale = 1 }).Gradient(i, step + 1), Gradients[parameters[i]]);
        curvature.UpdateCurvature(Gradients);
    }

    /// <summary>The optimizer of the same settings, whose parameters maximize.</summary>
    private Optimizer Climbing(OptimizerEntry entry, OptimizerSettings settings)
    {
        Optimizer climbing = entry.Create(settings.StateType);
        using Optimizer descending = Registry.Create(entry, settings, parameters, out _);
        foreach (ParameterState state in descending.States)
            climbing.Add(state.Parameter, state.Options with { Maximize = true });
        return climbing;
    }

    /// <summary>A second trajectory at the same step, restored from parameters, step numbers and a checkpoint of the state.</summary>
    public Trajectory Resumed(Device device, OptimizerEntry entry, OptimizerSettings settings)
    {
        var other = new Trajectory(device, entry, settings, form) { step = step };
        string folder = Directory.CreateTempSubdirectory("ilgpuoptim-").FullName;
        try
        {
            string path = Path.Combine(folder, OptimizerFiles.Name);
            OptimizerFiles.Save(path, Optimizer);
            OptimizerFiles.Load(path, other.Optimizer);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        for (int i = 0; i < parameters.Length; i++)
        {
            other.parameters[i].Load(parameters[i].ToArray());
            other.Optimizer.States[i].Step = Optimizer.States[i].Step;
        }

        return other;
    }

    /// <summary>A state tensor in f32.</summary>
    public float[] State(int parameter, int tensor)
    {
        ParameterState state = Optimizer.States[parameter];
        var values = new float[state.Declared[tensor].Length];
        state.Parameter.Device.Download(state[state.Declared[tensor].Name], values);
        return values;
    }

    /// <summary>The stored bytes of all parameters and all state, with their names.</summary>
    public IEnumerable<(string Name, byte[] Bytes)> Bits()
    {
        foreach (ParameterState state in Optimizer.States)
        {
            yield return (state.Parameter.Name, MemoryMarshal.AsBytes(state.Parameter.ToArray().AsSpan()).ToArray());
            for (int i = 0; i < state.Declared.Count; i++)
            {
                var bytes = new byte[state.Declared[i].Bytes];
                state.Parameter.Device.DownloadBytes(state[state.Declared[i].Name], bytes.Length, bytes);
                yield return ($"{state.Declared[i].Name} of {state.Parameter.Name}", bytes);
            }
        }

        foreach (StateTensor tensor in Optimizer.SharedState)
        {
            var bytes = new byte[tensor.Bytes];
            parameters[0].Device.DownloadBytes(Optimizer.Shared(tensor.Name), bytes.Length, bytes);
            yield return ($"{tensor.Name} of {Optimizer.Name}", bytes);
        }
    }

    public void Dispose()
    {
        Optimizer.Dispose();
        Gradients.Release();
        foreach (Parameter parameter in parameters)
            parameter.Release();
    }
}
