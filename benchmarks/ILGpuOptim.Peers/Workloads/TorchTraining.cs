using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace PeerBenchmarks.Workloads;

/// <summary>A training step by TorchSharp: batch, forward, backward, clipping, AdamW, and the loss back in C#.</summary>
internal sealed class TorchTraining : Workload
{
    private Recipe recipe = Recipe.Character;
    private TokenSource tokens = new(Recipe.Character);
    private TorchGpt? model;
    private AdamW? optimizer;
    private Parameter[] parameters = [];

    public TorchTraining() => set_num_threads(Threads);

    public override string Description => TorchVersion.Text;

    public override bool Slow => recipe.IsSlow;

    public override void Prepare(string @case)
    {
        recipe = Recipe.Named(@case);
        if (recipe.LlamaInner is not null)
            throw new ArgumentException("TorchSharp's side has no LLaMA");
        tokens = new TokenSource(recipe);
        manual_seed(1);
        model = new TorchGpt(recipe);
        model.train();
        parameters = model.parameters().ToArray();
        optimizer = model.Optimizer();
    }

    public override void Run()
    {
        using var scope = NewDisposeScope();
        tokens.Next();
        optimizer!.zero_grad();
        var loss = model!.forward(AsTensor(tokens.Input), AsTensor(tokens.Target));
        loss.backward();
        if (recipe.Clip is { } clip)
            nn.utils.clip_grad_norm_(parameters, clip);
        optimizer.step();
        loss.ToSingle();
    }

    private Tensor AsTensor(long[] indices) => tensor(indices, [recipe.Batch, recipe.Length]);
}
