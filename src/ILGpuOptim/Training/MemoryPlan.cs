using ILGpuOptim.Compute;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>The bytes that a run needs, before it begins.</summary>
/// <param name="Weights">Parameters.</param>
/// <param name="Gradients">Their gradients.</param>
/// <param name="State">The optimizer's state.</param>
/// <param name="Activations">What the forward pass keeps for the backward pass, with workspace.</param>
public sealed record MemoryPlan(long Weights, long Gradients, long State, long Activations)
{
    /// <summary>Everything.</summary>
    public long Total => Weights + Gradients + State + Activations;

    /// <summary>The plan of a GPT-2 under some settings.</summary>
    public static MemoryPlan Of(Gpt2Config config, TrainingSettings settings)
    {
        OptimizerEntry entry = Registry.Find(settings.Optimizer.Name);
        using Optimizer optimizer = entry.Create();
        long weights = 0, state = 0;
        foreach ((string name, int[] shape) in Shapes(config))
        {
            weights += shape.Aggregate(4L, (product, size) => product * size);
            bool chosen = Registry.Chooses(entry, settings.Optimizer, name, shape);
            state += optimizer.Declare(shape, entry.Options(settings.Optimizer, chosen)).Sum(tensor => tensor.Bytes);
        }

        // Each block keeps its two normalised inputs (c), packed projections (3c), attention's output (c), two
        // residual streams (2c), and the inner layer before and after its activation (4c + 4c).
        long rows = (long)settings.Batch * settings.Block, c = config.Channels, inner = config.Inner ?? 4 * config.Channels;
        long block = rows * (8 * c + 2 * inner) + 4 * rows + rows * config.Heads;
        long logits = Math.Min(rows * config.Vocabulary, CrossEntropyOp.MostKeptLogits);
        long activations = 4 * (block * config.Layers + 3 * rows * c + logits + 4 * rows * inner);
        return new MemoryPlan(weights, weights, state, activations);
    }

    /// <summary>Fails when a device has not the room.</summary>
    /// <exception cref="UserException">With the sizes and what to make smaller.</exception>
    public void CheckAgainst(Device device)
    {
        long available = device.AvailableBytes;
        if (Total > available)
        {
            throw new UserException(
                $"{device.Name}: the run needs about {Total / 1e9:F2} GB ({Weights / 1e9:F2} weights, {Gradients / 1e9:F2} gradients, {State / 1e9:F2} optimizer, " +
                $"{Activations / 1e9:F2} activations), but {available / 1e9:F2} GB are free; use a smaller --batch (with --accumulate), --block or model, or an optimizer with less state");
        }
    }

    private static IEnumerable<(string Name, int[] Shape)> Shapes(Gpt2Config config)
    {
        int c = config.Channels, inner = config.Inner ?? 4 * c;
        yield return ("wte.weight", [config.Vocabulary, c]);
        yield return ("wpe.weight", [config.ContextLength, c]);
        for (int i = 0; i < config.Layers; i++)
        {
            foreach (string norm in (string[])["ln_1", "ln_2"])
            {
                yield return ($"h.{i}.{norm}.weight", [c]);
                yield return ($"h.{i}.{norm}.bias", [c]);
            }

            foreach ((string layer, int from, int to) in ((string, int, int)[])[("attn.c_attn", c, 3 * c), ("attn.c_proj", c, c), ("mlp.c_fc", c, inner), ("mlp.c_proj", inner, c)])
            {
                yield return ($"h.{i}.{layer}.weight", [from, to]);
                yield return ($"h.{i}.{layer}.bias", [to]);
            }
        }

        yield return ("ln_f.weight", [c]);
        yield return ("ln_f.bias", [c]);
    }
}
