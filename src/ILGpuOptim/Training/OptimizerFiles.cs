using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>
/// An optimizer's state as safetensors: <c>PARAMETER.TENSOR</c>, <c>optimizer.TENSOR</c> for that of the whole optimizer, and <c>PARAMETER.weights</c>, the trained weights,
/// if the model is saved with others (<see cref="Optimizer.HasEvaluationWeights"/>).
/// </summary>
internal static class OptimizerFiles
{
    private sealed record Entry(string Name, IReadOnlyList<int> Shape, long Bytes, Block Block, Device Device)
    {
        public DType Type => Block.Type;
    }

    /// <summary>Writes the state.</summary>
    public static void Save(string path, Optimizer optimizer)
    {
        Entry[] entries = [.. Entries(optimizer)];
        using var writer = new SafetensorsWriter(path, entries.Select(entry =>
            (entry.Name, entry.Type == DType.F32 ? "F32" : entry.Type == DType.BF16 ? "BF16" : "U8", entry.Type.SharesScales() ? [checked((int)entry.Bytes)] : entry.Shape)));
        foreach (Entry entry in entries)
        {
            var bytes = new byte[entry.Bytes];
            entry.Device.DownloadBytes(entry.Block, bytes.Length, bytes);
            writer.Write(entry.Name, bytes);
        }

        writer.Finish();
    }

    /// <summary>Reads what <see cref="Save"/> wrote; <see cref="ParameterState.Step"/> is in the checkpoint's description.</summary>
    public static void Load(string path, Optimizer optimizer)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        foreach (Entry entry in Entries(optimizer))
        {
            byte[] bytes = file.ReadBytes(entry.Name);
            if (bytes.Length != entry.Bytes)
                throw new SafetensorsException($"{path}: {entry.Name} has {bytes.Length} bytes, but the optimizer's settings make it {entry.Bytes}; resume with the settings of the run");
            entry.Device.UploadBytes(bytes, entry.Block);
        }
    }

    private static IEnumerable<Entry> Entries(Optimizer optimizer)
    {
        foreach (ParameterState state in optimizer.States)
        {
            Device device = state.Parameter.Device;
            foreach (StateTensor tensor in state.Declared)
                yield return new($"{state.Parameter.Name}.{tensor.Name}", tensor.Shape, tensor.Bytes, state[tensor.Name], device);
            if (optimizer.HasEvaluationWeights)
                yield return new($"{state.Parameter.Name}.weights", state.Parameter.Shape, state.Parameter.Bytes, state.Parameter.Data, device);
        }

        foreach (StateTensor tensor in optimizer.States.Count > 0 ? optimizer.SharedState : [])
            yield return new($"optimizer.{tensor.Name}", tensor.Shape, tensor.Bytes, optimizer.Shared(tensor.Name), optimizer.States[0].Parameter.Device);
    }
}
