using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Models;

/// <summary>
/// Models whose products have weights of 4-bit integers, made from models of floats and back. Each weight becomes W ≈ up · down + Q, where up · down has the
/// largest singular values of W and Q is what is left, rounded to the nearest (Li et al., "SVDQuant", 2024, for weights alone: activations stay floats, so
/// nothing is smoothed).
/// </summary>
public static class ModelQuantization
{
    /// <summary>Above this length of a weight's short side the singular vectors are found by randomized subspace iteration.</summary>
    private const int LongestExact = 1024;

    private const int Iterations = 4;

    private const ulong Seed = 0x5356_4451_7561_6E74;

    /// <summary>A copy of a model on the same device with quantised weights. Embeddings, heads, norms, biases and routers stay f32; experts get no branch.</summary>
    /// <param name="model">A model of floats without adapters.</param>
    /// <param name="config">Group size and rank of the branches.</param>
    /// <exception cref="UserException">The model is quantised already, or has no products that can be; or the configuration is not supported.</exception>
    public static LanguageModel Quantize(LanguageModel model, QuantizationConfig config)
    {
        config.Check("quantization: ");
        if (model.Config.Quantization is not null)
            throw new UserException("the weights are quantised already; give the model that they were made from");
        if (model.Adapters.Count > 0)
            throw new ArgumentException("the model has adapters; merge them first", nameof(model));
        return Converted(model, model.Config with { Quantization = config }, QuantizeProduct);
    }

    /// <summary>A copy of a model on the same device with f32 weights: codes are widened, branches and adapters are added to them.</summary>
    /// <param name="model">A model that <see cref="Quantize"/> made, perhaps with adapters.</param>
    public static LanguageModel Widen(LanguageModel model) => Converted(model, model.Config with { Quantization = null }, WidenProduct);

    private static LanguageModel Converted(LanguageModel model, ModelConfig config, Action<Linear, Linear> convert)
    {
        LanguageModel result = config.Create(new Initializer(model.Device, 0));
        try
        {
            (result.GenerationConfig, result.UnusedTensors) = (model.GenerationConfig, model.UnusedTensors);
            Dictionary<string, Parameter> sources = model.Parameters.ToDictionary(parameter => parameter.Name);
            Linear[] products = [.. result.Linears.Zip(model.Linears).Where(pair => pair.First.Weight.Data.Type.IsInt4() || pair.Second.Weight.Data.Type.IsInt4()).Select(pair =>
            {
                convert(pair.Second, pair.First);
                return pair.First;
            })];
            if (products.Length == 0)
                throw new UserException($"{model.Config.Family} has no products whose weights can be quantised");
            HashSet<Parameter> done = [.. products.Select(product => product.Weight), .. products.Where(product => product.Branch is not null).SelectMany(product => product.Branch!.Parameters)];
            foreach (Parameter parameter in result.Parameters.Where(parameter => !done.Contains(parameter)))
                parameter.Load(sources[parameter.Name].ToArray());
            return result;
        }
        catch
        {
            result.Dispose();
            throw;
        }
    }

    private static void QuantizeProduct(Linear source, Linear target)
    {
        if (target.Branch is not { } branch)
        {
            target.Weight.Load(source.Weight.ToArray());
            return;
        }

        Fill(branch, source);

        // The branch as it is stored, so that the codes also make up for its rounding.
        using var tape = new Tape(source.Weight.Device) { IsRecording = false };
        target.Weight.Load(tape.LowRankSum(source.Weight, branch.Down, branch.Up, -1, source.IsTransposed).ToArray());
    }

    private static void WidenProduct(Linear source, Linear target)
    {
        target.Weight.Load(source.Weight.ToArray());
        using var tape = new Tape(target.Weight.Device) { IsRecording = false };
        if (source.Branch is { } branch)
            tape.Device.Copy(tape.LowRankSum(target.Weight, branch.Down, branch.Up, 1, target.IsTransposed).Data, target.Weight.Data);
        if (source.Adapter is { } adapter)
            tape.Device.Copy(tape.LowRankSum(target.Weight, adapter.A, adapter.B, adapter.Options.Scale, target.IsTransposed).Data, target.Weight.Data);
    }

    /// <summary>Makes a branch the best approximation of a weight of its rank: W ≈ (W V) Vᵀ, where V are the leading right singular vectors.</summary>
    private static void Fill(LowRankBranch branch, Linear linear)
    {
        Parameter weight = linear.Weight;
        Device device = weight.Device;
        int rows = weight.Rows, columns = weight.Columns, rank = branch.Rank;
        Block vectors = device.Pool.Rent((long)rank * columns), image = device.Pool.Rent((long)rank * rows);
        if (Math.Min(rows, columns) <= LongestExact)
            device.Upload(new SingularVectors(weight.ToArray(), rows, columns, rank, device).Right, vectors);
        else
            RandomizedSubspace.Find(device, Projection.Of(weight.Shape, ProjectionType.Right, ProjectionBasis.RandomizedSvd, rank), weight.Data, Iterations, Seed, 0, vectors, default);
        device.Gemm(new GemmArguments(vectors, weight.Data, image, rank, rows, columns) { TransposeB = true });
        (Block down, Block up) = linear.IsTransposed ? (vectors, image) : (image, vectors);
        device.Copy(down, branch.Down.Data);
        branch.Up.Load(Transposed(device, up, rank, linear.Outputs));
        device.Pool.ReturnAll([vectors, image]);
    }

    private static float[] Transposed(Device device, in Block matrix, int rows, int columns)
    {
        float[] values = new float[matrix.Length], result = new float[matrix.Length];
        device.Download(matrix, values);
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                result[j * rows + i] = values[i * columns + j];
        }

        return result;
    }
}
