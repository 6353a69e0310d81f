#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim/ILGpuOptim.csproj

// A transformer from plain tensor operations: dotnet run -c Release samples/my-transformer.cs
// trains a character model on the bundled text, prints its loss, and generates a few lines. For another text: … samples/my-transformer.cs -- input.txt
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

const int Batch = 16, Context = 32, Hidden = 64, Heads = 4, Layers = 2, Steps = 600;
string text = args.Length > 0 ? File.ReadAllText(args[0]) : DefaultCorpus.Text;
var tokenizer = CharTokenizer.From(text);
int[] tokens = tokenizer.Encode(text);
int vocabulary = tokens.Max() + 1, validation = tokens.Length / 10;

using var device = new CpuDevice();
using var tape = new Tape(device);
var initializer = new Initializer(device, seed: 1);
var parameters = new List<Parameter>();
Parameter tokenTable = New("tokens", 0.1f, 0, vocabulary, Hidden), positionTable = New("positions", 0.1f, 0, Context, Hidden);
var blocks = new List<Func<Tensor, Tensor>>();
for (int i = 0; i < Layers; i++)
{
    Func<Tensor, Tensor> attention = Attention($"block.{i}.attention"), feedForward = FeedForward($"block.{i}.feed_forward");
    blocks.Add(x => feedForward(attention(x)));
}

Func<Tensor, Tensor> norm = Norm("norm"), head = Linear("head", Hidden, vocabulary);
using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = "adamw", LearningRate = 3e-3, WeightDecay = 0.01 }, parameters, out _);
Console.WriteLine($"{parameters.Sum(parameter => parameter.Length):N0} parameters, {tokens.Length:N0} characters, {vocabulary} distinct");

var random = new Random(1);
for (int step = 1; step <= Steps; step++)
{
    Tensor loss = Loss(validation, tokens.Length);
    tape.Backward(loss);
    optimizer.LearningRateFactor = 1 - (step - 1.0) / Steps;
    optimizer.Step(tape.Gradients);
    if (step % 50 == 0)
        Console.WriteLine($"step {step}: loss {loss.Item():F3}");
    tape.Gradients.Clear();
    tape.Reset();
}

tape.IsRecording = false;
double sum = 0;
for (int i = 0; i < 20; i++)
{
    sum += Loss(0, validation).Item();
    tape.Reset();
}

Console.WriteLine($"validation loss: {sum / 20:F3}");
var generated = new List<int>(tokenizer.Encode("And God said"));
for (int i = 0; i < 200; i++)
{
    int[] last = [.. generated.TakeLast(Context)];
    float[] probabilities = tape.Softmax(Logits(last, 1).Select(0, 0).Select(0, ^1)).ToArray();
    double remaining = random.NextDouble();
    generated.Add(Math.Min(vocabulary - 1, probabilities.TakeWhile(probability => (remaining -= probability) > 0).Count()));
    tape.Reset();
}

Console.WriteLine(tokenizer.Decode([.. generated]));

// The mean cross-entropy of the characters that follow those of random windows.
Tensor Loss(int begin, int end)
{
    int[] starts = [.. Enumerable.Range(0, Batch).Select(_ => random.Next(begin, end - Context))];
    int[] Window(int offset) => [.. starts.SelectMany(start => tokens[(start + offset)..(start + offset + Context)])];
    return Logits(Window(0), Batch).Flatten(0, 1).CrossEntropy(Window(1));
}

// batch × length × vocabulary.
Tensor Logits(int[] ids, int batch)
{
    int length = ids.Length / batch;
    Tensor x = tape.IndexSelect(tokenTable, 0, ids).Reshape(batch, length, Hidden) + tape.Slice(positionTable, 0, ..length);
    foreach (Func<Tensor, Tensor> block in blocks)
        x = block(x);
    return head(norm(x));
}

// x + softmax(q kᵀ / √size) v for each head, with a causal mask.
Func<Tensor, Tensor> Attention(string name)
{
    const int Size = Hidden / Heads;
    Func<Tensor, Tensor> norm = Norm($"{name}.norm"), output = Linear($"{name}.output", Hidden, Hidden);
    Func<Tensor, Tensor>[] projections = [.. new[] { "query", "key", "value" }.Select(part => Linear($"{name}.{part}", Hidden, Hidden))];
    return x =>
    {
        int batch = x.Shape[0], length = x.Shape[1];
        Tensor input = norm(x), position = tape.Arange(length);
        Tensor[] parts = [.. projections.Select(project => project(input).Reshape(batch, length, Heads, Size).Transpose(1, 2))];
        Tensor scores = parts[0].MatMul(parts[1], transposeB: true) / MathF.Sqrt(Size);
        Tensor weights = scores.MaskedFill(position > position.Unsqueeze(-1), float.NegativeInfinity).Softmax();
        return x + output(weights.MatMul(parts[2]).Transpose(1, 2).Reshape(batch, length, Hidden));
    };
}

Func<Tensor, Tensor> FeedForward(string name)
{
    Func<Tensor, Tensor> norm = Norm($"{name}.norm"), up = Linear($"{name}.up", Hidden, 4 * Hidden), down = Linear($"{name}.down", 4 * Hidden, Hidden);
    return x => x + down(up(norm(x)).Relu().Square());
}

// Layer normalisation (Ba et al., 2016).
Func<Tensor, Tensor> Norm(string name)
{
    Parameter weight = New($"{name}.weight", 0, 1, Hidden), bias = New($"{name}.bias", 0, 0, Hidden);
    return x =>
    {
        Tensor centred = x - x.Mean(-1, keepDims: true);
        return centred * (centred.Square().Mean(-1, keepDims: true) + 1e-5f).Rsqrt() * weight + bias;
    };
}

Func<Tensor, Tensor> Linear(string name, int inputs, int outputs)
{
    Parameter weight = New($"{name}.weight", 1 / MathF.Sqrt(inputs), 0, inputs, outputs), bias = New($"{name}.bias", 0, 0, outputs);
    return x => x.MatMul(weight) + bias;
}

Parameter New(string name, float standardDeviation, float constant, params ReadOnlySpan<int> shape)
{
    var parameter = new Parameter(device, name, shape);
    initializer.Fill(parameter, standardDeviation, constant);
    parameters.Add(parameter);
    return parameter;
}
