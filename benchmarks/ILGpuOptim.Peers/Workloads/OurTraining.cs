using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace PeerBenchmarks.Workloads;

/// <summary>A training step by this project: batch, forward, backward, clipping, AdamW, and the loss back on the host.</summary>
/// <param name="isLayerwise">Updates each parameter as soon as its gradient is complete; the recipe must not clip.</param>
internal sealed class OurTraining(bool isLayerwise = false) : Workload
{
    private readonly CpuDevice device = new(Threads);
    private Recipe recipe = Recipe.Character;
    private TokenSource tokens = new(Recipe.Character);
    private LanguageModel? model;
    private Optimizer? optimizer;
    private GradientClipping? clipping;
    private Tape? tape;
    private int[] inputs = [], targets = [];

    public override string Description => device.Description;

    public override bool Slow => recipe.IsSlow;

    public override void Prepare(string @case)
    {
        recipe = Recipe.Named(@case);
        if (!recipe.LikeGpt2)
            throw new ArgumentException("this project's GPT has biases and tanh-GELU, as GPT-2");
        tokens = new TokenSource(recipe);
        model = OurModel.Create(recipe, device);
        optimizer = OurModel.Optimizer("adamw", recipe, model);
        clipping = new GradientClipping(device, model.Parameters);
        tape = new Tape(device);
        if (isLayerwise)
            tape.GradientReady = Update;
        inputs = new int[tokens.Input.Length];
        targets = new int[tokens.Input.Length];
    }

    public override void Run()
    {
        tokens.Next();
        for (int i = 0; i < inputs.Length; i++)
            (inputs[i], targets[i]) = ((int)tokens.Input[i], (int)tokens.Target[i]);
        Tensor loss = model!.Loss(tape!, inputs, targets, recipe.Batch);
        tape!.Backward(loss);
        if (recipe.Clip is { } clip)
            optimizer!.GradientFactor = clipping!.Measure(tape.Gradients, clip);
        if (!isLayerwise)
            optimizer!.Step(tape.Gradients);
        loss.Item();
        tape.Gradients.Clear();
        tape.Reset();
    }

    private void Update(Parameter parameter)
    {
        optimizer!.Step(tape!.Gradients, parameter);
        tape.Gradients.Release(parameter);
    }

    public override void Dispose() => device.Dispose();
}

/// <summary>This project's model and optimizer of a recipe.</summary>
internal static class OurModel
{
    public static LanguageModel Create(Recipe recipe, Device device) => Config(recipe).Create(new Initializer(device, 1));

    private static ModelConfig Config(Recipe recipe) => recipe.LlamaInner is { } inner
        ? new LlamaConfig
        {
            VocabularySize = recipe.VocabularySize,
            ContextLength = recipe.Positions,
            Layers = recipe.Layers,
            Heads = recipe.Heads,
            HiddenSize = recipe.HiddenSize,
            IntermediateSize = inner,
        }
        : new Gpt2Config
        {
            VocabularySize = recipe.VocabularySize,
            ContextLength = recipe.Positions,
            Layers = recipe.Layers,
            Heads = recipe.Heads,
            HiddenSize = recipe.HiddenSize,
        };

    public static Optimizer Optimizer(string name, Recipe recipe, LanguageModel model)
    {
        var settings = new OptimizerSettings { Name = name, LearningRate = recipe.LearningRate, WeightDecay = recipe.WeightDecay };
        settings = name switch
        {
            "adamw" => settings.With("beta1", recipe.Beta1).With("beta2", recipe.Beta2),
            "sgd" => settings.With("momentum", 0.9),
            "apollo" => settings.With("rank", 192),
            "galore" or "fira" => settings.With("rank", 128),
            _ => settings,
        };
        return Registry.Create(settings, model.Parameters, out _);
    }
}
