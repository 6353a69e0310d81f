using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace PeerBenchmarks.Workloads;

/// <summary>GPT-2 as a TorchSharp user would write it, with fused attention and the head tied to the token table.</summary>
internal sealed class TorchGpt : Module<Tensor, Tensor, Tensor>
{
    private readonly Recipe recipe;
    private readonly Embedding tokens, positions;
    private readonly ModuleList<TorchBlock> blocks;
    private readonly LayerNorm norm;

    public TorchGpt(Recipe recipe) : base(nameof(TorchGpt))
    {
        this.recipe = recipe;
        tokens = Embedding(recipe.VocabularySize, recipe.HiddenSize);
        positions = Embedding(recipe.Positions, recipe.HiddenSize);
        blocks = ModuleList(Enumerable.Range(0, recipe.Layers).Select(_ => new TorchBlock(recipe)).ToArray());
        norm = LayerNorm(recipe.HiddenSize, bias: recipe.LikeGpt2);
        RegisterComponents();

        // GPT-2 draws the projections that feed the residual stream smaller, by 1/√(2 · layers).
        using var _ = no_grad();
        foreach (var (name, parameter) in named_parameters())
            if (parameter.dim() == 2)
                init.normal_(parameter, 0, name.EndsWith("output.weight") ? 0.02 / Math.Sqrt(2 * recipe.Layers) : 0.02);
            else if (name.EndsWith("bias"))
                init.zeros_(parameter);
    }

    /// <summary>The mean cross-entropy of batch × length tokens and what follows each.</summary>
    public override Tensor forward(Tensor input, Tensor target)
    {
        using var scope = NewDisposeScope();
        var x = tokens.forward(input) + positions.forward(arange(input.shape[1], ScalarType.Int64));
        foreach (var block in blocks)
            x = block.forward(x);
        var logits = functional.linear(norm.forward(x), tokens.weight!);
        return functional.cross_entropy(logits.view(-1, recipe.VocabularySize), target.view(-1)).MoveToOuterDisposeScope();
    }

    /// <summary>AdamW as the recipe asks for it.</summary>
    public AdamW Optimizer()
    {
        AdamW.ParamGroup Group(bool matrices) => new(
            parameters().Where(parameter => parameter.dim() >= 2 == matrices),
            new AdamW.Options
            {
                LearningRate = recipe.LearningRate, InitialLearningRate = recipe.LearningRate,
                beta1 = recipe.Beta1, beta2 = recipe.Beta2, eps = 1e-8, weight_decay = matrices ? recipe.WeightDecay : 0,
            });
        return optim.AdamW([Group(matrices: true), Group(matrices: false)], recipe.LearningRate, recipe.Beta1, recipe.Beta2);
    }
}

/// <summary>Attention and a multilayer perceptron, each after a norm and added to the residual stream.</summary>
internal sealed class TorchBlock : Module<Tensor, Tensor>
{
    private readonly LayerNorm attentionNorm, perceptronNorm;
    private readonly TorchAttention attention;
    private readonly TorchPerceptron perceptron;

    public TorchBlock(Recipe recipe) : base(nameof(TorchBlock))
    {
        attentionNorm = LayerNorm(recipe.HiddenSize, bias: recipe.LikeGpt2);
        attention = new TorchAttention(recipe);
        perceptronNorm = LayerNorm(recipe.HiddenSize, bias: recipe.LikeGpt2);
        perceptron = new TorchPerceptron(recipe);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        x = x + attention.forward(attentionNorm.forward(x));
        x = x + perceptron.forward(perceptronNorm.forward(x));
        return x.MoveToOuterDisposeScope();
    }
}

/// <summary>Causal self-attention over several heads.</summary>
internal sealed class TorchAttention : Module<Tensor, Tensor>
{
    private readonly int heads;
    private readonly Linear input, output;

    public TorchAttention(Recipe recipe) : base(nameof(TorchAttention))
    {
        heads = recipe.Heads;
        input = Linear(recipe.HiddenSize, 3 * recipe.HiddenSize, recipe.LikeGpt2);
        output = Linear(recipe.HiddenSize, recipe.HiddenSize, recipe.LikeGpt2);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        long batch = x.shape[0], length = x.shape[1], channels = x.shape[2];
        var parts = input.forward(x).split(channels, 2)
            .Select(part => part.view(batch, length, heads, channels / heads).transpose(1, 2)).ToArray();
        var mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_casual: true);
        return output.forward(mixed.transpose(1, 2).contiguous().view(batch, length, channels)).MoveToOuterDisposeScope();
    }
}

/// <summary>Four times wider, GELU, and back.</summary>
internal sealed class TorchPerceptron : Module<Tensor, Tensor>
{
    private readonly Linear input, output;
    private readonly TorchSharp.Modules.GELU.Approximate approximation;

    public TorchPerceptron(Recipe recipe) : base(nameof(TorchPerceptron))
    {
        input = Linear(recipe.HiddenSize, 4 * recipe.HiddenSize, recipe.LikeGpt2);
        output = Linear(4 * recipe.HiddenSize, recipe.HiddenSize, recipe.LikeGpt2);
        approximation = recipe.LikeGpt2 ? TorchSharp.Modules.GELU.Approximate.tanh : TorchSharp.Modules.GELU.Approximate.none;
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return output.forward(functional.gelu(input.forward(x), approximation)).MoveToOuterDisposeScope();
    }
}
