#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim/ILGpuOptim.csproj

// A new optimizer in one struct and one class, trained beside AdamW: dotnet run -c Release samples/my-optimizer.cs
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;

using var device = new CpuDevice();
var data = Dataset.FromText(DefaultCorpus.Text, CharTokenizer.From(DefaultCorpus.Text), 0.1, DefaultCorpus.Name);
foreach ((Optimizer optimizer, OptimizerOptions options) in new (Optimizer, OptimizerOptions)[]
{
    (new AdamW(), new AdamOptions { LearningRate = 1e-3 }),
    (new SoftSign(), new OptimizerOptions { LearningRate = 1e-3 }),
})
{
    using LanguageModel model = new Gpt2Config { Vocabulary = data.Vocabulary, ContextLength = 32, Layers = 2, Heads = 2, Channels = 64 }.Create(new Initializer(device, 1));
    var tape = new Tape(device);
    var sampler = new BatchSampler(block: 32, rows: 16, seed: 1);
    int[] inputs = new int[32 * 16], targets = new int[32 * 16];
    foreach (Parameter parameter in model.Parameters)
        optimizer.Add(parameter, options);
    for (int step = 0; step <= 400; step++)
    {
        sampler.Fill(data.Training, stream: 0, (ulong)step, inputs, targets);
        Tensor loss = model.Loss(tape, inputs, targets, batch: 16);
        tape.Backward(loss);
        if (step % 100 == 0)
            Console.WriteLine($"{optimizer.Name,-9} step {step,3}: loss {loss.Item():F3}, {optimizer.StateBytes:N0} bytes of state");
        optimizer.Step();
        foreach (Parameter parameter in model.Parameters)
            parameter.ClearGradient();
        tape.Reset();
    }

    optimizer.Dispose();
}

/// <summary>m = 0.9 m + 0.1 g; p -= lr · m / (|m| + 1e-4): between the sign of a momentum and the momentum itself.</summary>
internal sealed class SoftSign : Optimizer
{
    public override string Name => "softsign";

    public override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options) => [new("momentum", shape)];

    protected override void Update(ParameterState state, double learningRate) =>
        state.Parameter.Device.Map(new Rule((float)learningRate), 1, state.Parameter.Length, state.Parameter.Data, Gradient(state), state["momentum"]);

    private readonly struct Rule(float rate) : IMap3
    {
        private readonly float rate = rate;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

        public void Apply<L>(ref L p, ref L g, ref L m) where L : struct, ILane<L>
        {
            m = L.Splat(0.9f) * m + L.Splat(0.1f) * g;
            p -= L.Splat(rate) * m / (L.Abs(m) + L.Splat(1e-4f));
        }
    }
}
