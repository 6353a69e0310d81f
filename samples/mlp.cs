#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim/ILGpuOptim.csproj

// Fits a table of numbers by a network of three layers: dotnet run -c Release samples/mlp.cs
// The table is made up, or read from a file of comma-separated numbers whose last column is the target: … samples/mlp.cs -- table.csv
using System.Globalization;
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

const int Hidden = 64, Batch = 64, Steps = 1000;
float[][] table = args.Length > 0 ? Read(args[0]) : MadeUp(2000);
int columns = table[0].Length, inputs = columns - 1, held = table.Length / 5;

// Every column has mean 0 and standard deviation 1. The first fifth of the rows is held back for testing.
for (int k = 0; k < columns; k++)
{
    float mean = table.Average(row => row[k]), deviation = MathF.Sqrt(table.Average(row => (row[k] - mean) * (row[k] - mean)));
    foreach (float[] row in table)
        row[k] = (row[k] - mean) / (deviation == 0 ? 1 : deviation);
}

using var device = new CpuDevice();
using var tape = new Tape(device);
var initializer = new Initializer(device, seed: 1);
var parameters = new List<Parameter>();
(Parameter Weight, Parameter Bias)[] layers = [Layer(inputs, Hidden), Layer(Hidden, Hidden), Layer(Hidden, 1)];
using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = "adamw", LearningRate = 3e-3, WeightDecay = 0.01 }, parameters, out _);

var random = new Random(1);
for (int step = 1; step <= Steps; step++)
{
    float[][] rows = [.. Enumerable.Range(0, Batch).Select(_ => table[random.Next(held, table.Length)])];
    Tensor loss = Loss(rows);
    tape.Backward(loss);
    optimizer.LearningRateFactor = 1 - (step - 1.0) / Steps;
    optimizer.Step(tape.Gradients);
    if (step % 100 == 0)
        Console.WriteLine($"step {step}: mean squared error {loss.Item():F4}");
    tape.Gradients.Clear();
    tape.Reset();
}

tape.IsRecording = false;
float error = Loss(table[..held]).Item();
float variance = tape.Constant([.. table[..held].Select(row => row[^1])]).Variance(correction: 0).Item();
Console.WriteLine($"on {held} rows held back: mean squared error {error:F4}, which explains {1 - error / variance:P1} of the target's variance");

Tensor Loss(float[][] rows)
{
    Tensor x = tape.Constant([.. rows.SelectMany(row => row[..^1])], rows.Length, inputs);
    Tensor target = tape.Constant([.. rows.Select(row => row[^1])], rows.Length);
    for (int i = 0; i < layers.Length; i++)
    {
        x = x.MatMul(layers[i].Weight) + layers[i].Bias;
        x = i < layers.Length - 1 ? x.Relu() : x;
    }

    return x.Squeeze(-1).MseLoss(target);
}

(Parameter, Parameter) Layer(int rows, int outputs)
{
    var weight = new Parameter(device, $"layer.{parameters.Count / 2}.weight", rows, outputs);
    var bias = new Parameter(device, $"layer.{parameters.Count / 2}.bias", outputs);
    initializer.Fill(weight, MathF.Sqrt(2f / rows), 0);
    initializer.Fill(bias, 0, 0);
    parameters.AddRange([weight, bias]);
    return (weight, bias);
}

// Four numbers and a target that no sum of functions of single columns gives, with a little noise.
static float[][] MadeUp(int rows)
{
    var random = new Random(7);
    return [.. Enumerable.Range(0, rows).Select(_ =>
    {
        float[] x = [.. Enumerable.Range(0, 4).Select(_ => 2 * random.NextSingle() - 1)];
        return (float[])[.. x, MathF.Sin(3 * x[0]) * x[1] + x[2] * x[2] - 0.5f * x[3] + 0.1f * (random.NextSingle() - 0.5f)];
    })];
}

static float[][] Read(string path) =>
    [.. File.ReadLines(path).Where(line => line.Length > 0 && !char.IsLetter(line[0])).Select(line => line.Split(',').Select(field => float.Parse(field, CultureInfo.InvariantCulture)).ToArray())];
