#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim.CommandLine/ILGpuOptim.CommandLine.csproj
#:property PublishAot=false

// A new gated activation in one struct: dotnet run -c Release samples/my-activation.cs
// checks it, trains a small model of text with it, and prints the losses. Nobody writes a derivative.
using System.Runtime.CompilerServices;
using ILGpuOptim;
using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

FunctionRegistry.Add(new FunctionEntry("root-gate", "x (1 + y / √(1 + y²)) / 2", 2, (tape, x) => tape.Apply(new RootGate(), x[0], x[1]))
{
    // Optional: the function in plain doubles, with which the kernels are compared.
    Formula = x => x[0] * (1 + x[1] / Math.Sqrt(1 + x[1] * x[1])) / 2,
});

if (args.Length > 0)
    return CommandLine.Run(args);
int failed = CommandLine.Run("check", "root-gate");
if (failed != 0)
    return failed;
Train("root-gate", (tape, x, gate) => tape.Apply(new RootGate(), x, gate));
Train("sigmoid gate", (tape, x, gate) => tape.Apply(new SigmoidGate(), x, gate));
return 0;

// Predicts a character from the three before it: embeddings, a gated layer, logits.
static void Train(string name, Func<Tape, Tensor, Tensor, Tensor> activation)
{
    const int Context = 3, Width = 64, Inner = 128, Batch = 256, Steps = 300;
    using var device = new CpuDevice();
    var tokenizer = CharTokenizer.From(DefaultCorpus.Text);
    int[] text = tokenizer.Encode(DefaultCorpus.Text.Substring(0, 200_000));
    int vocabulary = text.Max() + 1;

    var parameters = new List<Parameter>();
    Parameter New(string parameter, params int[] shape)
    {
        parameters.Add(new Parameter(device, parameter, shape));
        device.Random(parameters[^1].Data, RandomKind.Normal, 1 / MathF.Sqrt(shape[^1]), seed: 1, stream: (ulong)parameters.Count);
        return parameters[^1];
    }

    Parameter[] tables = [.. Enumerable.Range(0, Context).Select(i => New($"embedding.{i}", vocabulary, Width))];
    Parameter up = New("up", Inner, Width), gate = New("gate", Inner, Width), head = New("head", vocabulary, Inner);
    using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = "adamw", LearningRate = 3e-3 }, parameters, out _);
    using var tape = new Tape(device);
    var random = new Random(1);
    double sum = 0;
    for (int step = 1; step <= Steps; step++)
    {
        int[] places = [.. Enumerable.Range(0, Batch).Select(_ => random.Next(Context, text.Length))];
        Tensor Embedded(int i) => tape.Embedding(tables[i], tape.Indices([.. places.Select(place => text[place - 1 - i])]));
        Tensor x = tape.Add(tape.Add(Embedded(0), Embedded(1)), Embedded(2));
        Tensor inner = activation(tape, tape.Linear(x, up, null, transposed: true), tape.Linear(x, gate, null, transposed: true));
        Tensor loss = tape.CrossEntropy(inner, head, null, [.. places.Select(place => text[place])]);
        loss.IsKept = true;
        tape.Backward(loss);
        sum += loss.Item();
        optimizer.Step(tape.Gradients);
        tape.Gradients.Clear();
        tape.Reset();
        if (step % 100 == 0)
        {
            Console.WriteLine($"{name}, step {step}: loss {sum / 100:F3}");
            sum = 0;
        }
    }
}

/// <summary>x (1 + y / √(1 + y²)) / 2: a gate without an exponential.</summary>
internal readonly struct RootGate : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L>
    {
        L one = L.Splat(1);
        return x * L.Splat(0.5f) * (one + y / L.Sqrt(L.Fma(y, y, one)));
    }
}

/// <summary>x σ(y), the gate of GLU (Dauphin et al., 2017), for comparison.</summary>
internal readonly struct SigmoidGate : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => x / (L.Splat(1) + L.Exp(L.Min(L.Splat(80), -y)));
}
