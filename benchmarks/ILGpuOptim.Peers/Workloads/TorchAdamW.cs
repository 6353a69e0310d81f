using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace PeerBenchmarks.Workloads;

/// <summary>AdamW alone, as TorchSharp has it, over the parameters of a model.</summary>
internal sealed class TorchAdamW : Workload
{
    private AdamW? optimizer;

    public TorchAdamW() => set_num_threads(Threads);

    public override string Description => TorchVersion.Text;

    public override bool Slow => true;

    public override void Prepare(string @case)
    {
        manual_seed(1);
        var model = new TorchGpt(Recipe.Named(@case));
        using (no_grad())
            foreach (var parameter in model.parameters())
                parameter.grad = randn_like(parameter) * 1e-3;
        optimizer = model.Optimizer();
    }

    public override void Run()
    {
        using var scope = NewDisposeScope();
        optimizer!.step();
    }
}
