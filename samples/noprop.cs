#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim/ILGpuOptim.csproj

// Blocks that learn without a backward pass through each other: dotnet run -c Release samples/noprop.cs
// trains ten blocks by NoProp, and as many of the same size as a residual network by backpropagation, on synthetic digits; it prints the accuracy of both on
// others after every epoch. With a folder of MNIST's four idx files, unpacked, it trains on those: dotnet run -c Release samples/noprop.cs -- 10 FOLDER
//
// NoProp (Li, Teh and Pascanu, "NoProp: training neural networks without back-propagation or forward-propagation", 2025), in discrete time. Let u be the
// embedding of a label, here its one-hot vector, and q(z_t | u) = N(√ᾱ_t u, 1 - ᾱ_t) noisy versions of it: pure noise at ᾱ_0 = 0, almost u itself at
// t = T. Block t is given the image and z_{t-1} and guesses u. It learns that from noisy labels alone, so blocks need neither each other's results nor
// each other's gradients. To classify an image, z_0 is noise, which the blocks denoise one after the other: with the guess û of block t,
//     z_t = a_t û + b_t z_{t-1} + √c_t noise,
// which is how z_t is distributed under q when z_{t-1} is given and u = û. A linear layer on z_T gives the class.
using System.Buffers.Binary;
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

using var device = new CpuDevice();
(Digits train, Digits test) = args.Length > 1 ? (Digits.Read(args[1], "train"), Digits.Read(args[1], "t10k")) : (Digits.Draw(6000, seed: 1), Digits.Draw(2000, seed: 2));
int epochs = args.Length > 0 ? int.Parse(args[0]) : 10;
var noProp = new Network(device, train.Pixels);
var ordinary = new Network(device, train.Pixels);
Console.WriteLine($"{train.Count} digits of {train.Pixels} pixels; {Network.Blocks} blocks, {noProp.Size:N0} parameters");
for (int epoch = 1; epoch <= epochs; epoch++)
{
    foreach (int[] batch in train.Batches(50, epoch))
    {
        noProp.LearnToDenoise(train, batch);
        ordinary.LearnEndToEnd(train, batch);
    }

    Console.WriteLine($"epoch {epoch,2}: NoProp {noProp.Accuracy(test, denoises: true):P1}, backpropagation {ordinary.Accuracy(test, denoises: false):P1}");
}

Console.WriteLine($"activations and gradients of a step: NoProp {noProp.MaxBytes / 1024:N0} KiB, backpropagation {ordinary.MaxBytes / 1024:N0} KiB");

/// <summary>Blocks and the layer behind them, each with an optimizer of its own.</summary>
internal sealed class Network
{
    public const int Blocks = 10, Classes = 10;
    private const double Eta = 0.1;

    private readonly Tape tape;
    private readonly Block[] blocks;
    private readonly Parameter weight, bias;
    private readonly AdamW[] optimizers;
    private readonly double[] signal = new double[Blocks + 1]; // ᾱ

    public Network(Device device, int pixels)
    {
        tape = new Tape(device) { Seed = 1 };
        var initializer = new Initializer(device, seed: 3);
        blocks = [.. Enumerable.Range(1, Blocks).Select(t => new Block(initializer, $"block {t}", pixels))];
        weight = New(initializer, "out.weight", 0.3f, Classes, Classes);
        bias = New(initializer, "out.bias", 0, Classes);
        optimizers = [.. blocks.Select(block => Optimizer(block.Parameters)), Optimizer([weight, bias])];

        // The cosine schedule of diffusion models (Nichol and Dhariwal, 2021): no signal at 0, almost no noise at T.
        for (int t = 1; t <= Blocks; t++)
            signal[t] = Math.Pow(Math.Sin(Math.PI / 2 * t / (Blocks + 0.1)), 2);
    }

    public long Size => optimizers.Sum(optimizer => optimizer.States.Sum(state => state.Parameter.Length));

    /// <summary>The most memory that a step took beside parameters and optimizers.</summary>
    public long MaxBytes { get; private set; }

    public static Parameter New(Initializer initializer, string name, float deviation, params ReadOnlySpan<int> shape)
    {
        var parameter = new Parameter(initializer.Device, name, shape);
        initializer.Fill(parameter, deviation, 0);
        return parameter;
    }

    /// <summary>A step of each block, and of the layer behind them, on noisy labels: every one has a loss and a backward pass of its own.</summary>
    public void LearnToDenoise(Digits digits, int[] batch)
    {
        for (int t = 1; t <= Blocks; t++)
        {
            // T/2 · η · (SNR(t) - SNR(t-1)) · ‖û - u‖² (equation 8), with the signal-to-noise ratio SNR = ᾱ / (1 - ᾱ).
            double Ratio(int i) => signal[i] / (1 - signal[i]);
            float factor = (float)(Blocks / 2.0 * Eta * (Ratio(t) - Ratio(t - 1)) / batch.Length);
            Step([optimizers[t - 1]], () =>
            {
                Tensor u = tape.OneHot(digits.LabelsOf(batch), Classes), guess = tape.Softmax(blocks[t - 1].Forward(tape, digits.Images(tape, batch), Noisy(u, t - 1)));
                return tape.Affine(tape.MseLoss(guess, u, LossReduction.Sum), factor);
            });
        }

        // -log p(y | z_T).
        int[] labels = digits.LabelsOf(batch);
        Step([optimizers[Blocks]], () => tape.CrossEntropy(Noisy(tape.OneHot(labels, Classes), Blocks), weight, bias, labels));
    }

    /// <summary>A step of all blocks by backpropagation through all of them.</summary>
    public void LearnEndToEnd(Digits digits, int[] batch) =>
        Step(optimizers, () => tape.CrossEntropy(Chained(digits.Images(tape, batch)), weight, bias, digits.LabelsOf(batch)));

    /// <summary>The share of digits that are recognised.</summary>
    /// <param name="digits">Digits that were not learnt from.</param>
    /// <param name="denoises">Whether images are classified by denoising, or by the chain of residual blocks.</param>
    public double Accuracy(Digits digits, bool denoises)
    {
        int right = 0;
        tape.IsRecording = false;
        foreach (int[] batch in digits.Batches(500, seed: null))
        {
            Tensor images = digits.Images(tape, batch);
            float[] digit = tape.ArgMax(tape.Linear(denoises ? Denoised(images) : Chained(images), weight, bias, transposed: true)).ToArray();
            right += batch.Where((number, i) => digits.Labels[number] == digit[i]).Count();
            tape.Reset();
        }

        tape.IsRecording = true;
        return (double)right / digits.Count;
    }

    /// <summary>z_T of images, from noise.</summary>
    private Tensor Denoised(Tensor images)
    {
        int[] shape = [images.Rows, Classes];
        Tensor z = tape.RandomNormal(0, 1, shape);
        for (int t = 1; t <= Blocks; t++)
        {
            // The mean and variance of q(z_t | z_{t-1}, u), by Bayes' rule from q(z_t | u) and q(z_{t-1} | z_t) = N(√α z_t, 1 - α).
            double alpha = signal[t - 1] / signal[t], rest = 1 - signal[t - 1];
            double a = Math.Sqrt(signal[t]) * (1 - alpha) / rest, b = Math.Sqrt(alpha) * (1 - signal[t]) / rest, c = (1 - signal[t]) * (1 - alpha) / rest;
            Tensor guess = tape.Softmax(blocks[t - 1].Forward(tape, images, z));
            z = tape.Add(tape.Add(tape.Affine(guess, (float)a), tape.Affine(z, (float)b)), tape.RandomNormal(0, (float)Math.Sqrt(c), shape));
        }

        return z;
    }

    /// <summary>The blocks as a residual network: each adds its result to z, from zero.</summary>
    private Tensor Chained(Tensor images)
    {
        Tensor z = tape.Zeros(images.Rows, Classes);
        foreach (Block block in blocks)
            z = tape.Add(z, block.Forward(tape, images, z));
        return z;
    }

    /// <summary>A draw from q(z_t | u).</summary>
    private Tensor Noisy(Tensor u, int t) => tape.Add(tape.Affine(u, (float)Math.Sqrt(signal[t])), tape.RandomNormal(0, (float)Math.Sqrt(1 - signal[t]), [.. u.Shape]));

    private static AdamW Optimizer(Parameter[] parameters)
    {
        var optimizer = new AdamW();
        foreach (Parameter parameter in parameters)
            optimizer.Add(parameter, new AdamOptions { LearningRate = 2e-3 });
        return optimizer;
    }

    private void Step(AdamW[] learning, Func<Tensor> loss)
    {
        MemoryPool pool = tape.Device.Pool;
        pool.ResetPeak();
        long before = pool.UsedBytes;
        tape.Backward(loss());
        MaxBytes = Math.Max(MaxBytes, pool.PeakBytes - before);
        foreach (AdamW optimizer in learning)
            optimizer.Step(tape.Gradients);
        tape.Gradients.Release();
        tape.Reset();
    }
}

/// <summary>relu(relu(x A + z B + b) C + c) D + d; a softmax of it is NoProp's guess û of the one-hot label.</summary>
internal sealed class Block
{
    private const int Hidden = 64;

    public Block(Initializer initializer, string name, int pixels)
    {
        Parameter Weight(string part, int inputs, int outputs) => Network.New(initializer, $"{name}.{part}", MathF.Sqrt(2f / inputs), inputs, outputs);
        Parameter Bias(string part, int outputs) => Network.New(initializer, $"{name}.{part}", 0, outputs);
        Parameters =
        [
            Weight("A", pixels, Hidden), Weight("B", Network.Classes, Hidden), Bias("b", Hidden), Weight("C", Hidden, Hidden), Bias("c", Hidden),
            Weight("D", Hidden, Network.Classes), Bias("d", Network.Classes),
        ];
    }

    public Parameter[] Parameters { get; }

    public Tensor Forward(Tape tape, Tensor x, Tensor z)
    {
        Parameter[] p = Parameters;
        Tensor first = tape.Relu(tape.Linear(x, p[0], p[2], residual: tape.Linear(z, p[1], null)));
        Tensor second = tape.Relu(tape.Linear(first, p[3], p[4]));
        return tape.Linear(second, p[5], p[6]);
    }
}

/// <summary>Images of digits and their labels.</summary>
internal sealed class Digits
{
    private const int Size = 16;

    // Five bits a row, seven rows a digit.
    private static readonly byte[][] Font =
    [
        [14, 17, 19, 21, 25, 17, 14], [4, 12, 4, 4, 4, 4, 14], [14, 17, 1, 2, 4, 8, 31], [31, 2, 4, 2, 1, 17, 14], [2, 6, 10, 18, 31, 2, 2],
        [31, 16, 30, 1, 1, 17, 14], [6, 8, 16, 30, 17, 17, 14], [31, 1, 2, 4, 8, 8, 8], [14, 17, 17, 14, 17, 17, 14], [14, 17, 17, 15, 1, 2, 12],
    ];

    private readonly float[] pixels;

    private Digits(float[] pixels, byte[] labels) => (this.pixels, Labels) = (pixels, labels);

    public byte[] Labels { get; }

    public int Count => Labels.Length;

    public int Pixels => pixels.Length / Count;

    /// <summary>Digits of the font at twice its size, shifted, slanted, of varying brightness, and noisy.</summary>
    public static Digits Draw(int count, int seed)
    {
        var random = new Random(seed);
        var pixels = new float[count * Size * Size];
        var labels = new byte[count];
        for (int i = 0; i < count; i++)
        {
            byte[] rows = Font[labels[i] = (byte)random.Next(10)];
            double left = 1 + 4 * random.NextDouble(), top = 2 * random.NextDouble(), slant = random.NextDouble() - 0.5, width = 1.5 + random.NextDouble(), light = 0.5 + 0.5 * random.NextDouble();
            for (int y = 0; y < Size; y++)
            {
                for (int x = 0; x < Size; x++)
                {
                    int row = (int)Math.Floor((y - top) / 2), column = (int)Math.Floor((x - left - slant * (y - 8)) / width);
                    bool isInk = row is >= 0 and < 7 && column is >= 0 and < 5 && (rows[row] >> (4 - column) & 1) != 0;
                    double noise = random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5;
                    pixels[(i * Size + y) * Size + x] = (float)((isInk ? light : 0) + 0.5 * noise);
                }
            }
        }

        return new Digits(pixels, labels);
    }

    /// <summary>MNIST's idx files: big-endian sizes, then bytes.</summary>
    public static Digits Read(string folder, string part)
    {
        byte[] images = File.ReadAllBytes(Path.Combine(folder, $"{part}-images-idx3-ubyte")), labels = File.ReadAllBytes(Path.Combine(folder, $"{part}-labels-idx1-ubyte"));
        int count = BinaryPrimitives.ReadInt32BigEndian(images.AsSpan(4));
        if (BinaryPrimitives.ReadInt32BigEndian(images) != 0x803 || BinaryPrimitives.ReadInt32BigEndian(labels) != 0x801 || labels.Length != 8 + count)
            throw new InvalidDataException($"{folder}: the files of \"{part}\" are no idx files of images and of as many labels");
        return new Digits([.. images.Skip(16).Select(value => value / 255f)], labels[8..]);
    }

    /// <summary>The numbers of all digits in batches; shuffled where there is a seed.</summary>
    public IEnumerable<int[]> Batches(int size, int? seed)
    {
        int[] order = [.. Enumerable.Range(0, Count)];
        if (seed is { } value)
            new Random(value).Shuffle(order);
        return order.Chunk(size);
    }

    public Tensor Images(Tape tape, int[] batch)
    {
        int size = Pixels;
        var values = new float[batch.Length * size];
        for (int i = 0; i < batch.Length; i++)
            pixels.AsSpan(batch[i] * size, size).CopyTo(values.AsSpan(i * size));
        return tape.Constant(values, batch.Length, size);
    }

    public int[] LabelsOf(int[] batch) => [.. batch.Select(i => (int)Labels[i])];
}
