#!/usr/bin/env dotnet
#:project ../src/ILGpuOptim/ILGpuOptim.csproj

// Reads digits by a small convolutional network: dotnet run -c Release samples/convnet.cs
// The digits are drawn: shifted, of different brightness, and with noise. With the folder of MNIST's four idx files (train-images-idx3-ubyte
// and so on, unpacked) it learns those: … samples/convnet.cs -- folder
using System.Buffers.Binary;
using ILGpuOptim;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

const int Classes = 10, Batch = 50, Steps = 400;
(Digits training, Digits test) = args.Length > 0
    ? (Digits.Read(args[0], "train"), Digits.Read(args[0], "t10k"))
    : (Digits.Draw(4000, seed: 1), Digits.Draw(1000, seed: 2));

using var device = new CpuDevice();
using var tape = new Tape(device);
var initializer = new Initializer(device, seed: 1);
var parameters = new List<Parameter>();
Parameter first = New("first.weight", 8 * 9, 8, 1, 3, 3), firstBias = New("first.bias", 0, 8);
Parameter second = New("second.weight", 8 * 9, 16, 8, 3, 3), secondBias = New("second.bias", 0, 16);
int features = 16 * (training.Size / 4) * (training.Size / 4);
Parameter head = New("head.weight", features, features, Classes), headBias = New("head.bias", 0, Classes);
using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = "adamw", LearningRate = 3e-3, WeightDecay = 0.01 }, parameters, out _);

var random = new Random(1);
for (int step = 1; step <= Steps; step++)
{
    int[] rows = [.. Enumerable.Range(0, Batch).Select(_ => random.Next(training.Labels.Length))];
    Tensor loss = Logits(training, rows).CrossEntropy([.. rows.Select(row => training.Labels[row])]);
    tape.Backward(loss);
    optimizer.LearningRateFactor = 1 - (step - 1.0) / Steps;
    optimizer.Step(tape.Gradients);
    if (step % 50 == 0)
        Console.WriteLine($"step {step}: loss {loss.Item():F4}");
    tape.Gradients.Clear();
    tape.Reset();
}

tape.IsRecording = false;
int right = 0;
foreach (int[] rows in Enumerable.Range(0, test.Labels.Length).Chunk(200))
{
    float[] read = Logits(test, rows).ArgMax().ToArray();
    right += rows.Zip(read, (row, digit) => test.Labels[row] == (int)digit ? 1 : 0).Sum();
    tape.Reset();
}

Console.WriteLine($"{right} of {test.Labels.Length} digits that it has not seen are right: {right / (double)test.Labels.Length:P1}");

Tensor Logits(Digits digits, int[] rows)
{
    Tensor x = tape.Constant([.. rows.SelectMany(digits.Image)], rows.Length, 1, digits.Size, digits.Size);
    x = x.Conv2d(first, firstBias, padding: 1).Relu().MaxPool2d(2);
    x = x.Conv2d(second, secondBias, padding: 1).Relu().MaxPool2d(2);
    return x.Flatten(1).MatMul(head) + headBias;
}

Parameter New(string name, int inputs, params ReadOnlySpan<int> shape)
{
    var parameter = new Parameter(device, name, shape);
    initializer.Fill(parameter, inputs == 0 ? 0 : MathF.Sqrt(2f / inputs), 0);
    parameters.Add(parameter);
    return parameter;
}

/// <summary>Square grey images of digits, each with its label.</summary>
internal sealed record Digits(int Size, byte[] Pixels, byte[] Labels)
{
    /// <summary>Five columns of seven pixels for each digit.</summary>
    private const string Font = """
        .###. ..#.. .###. .###. ...#. ##### ..##. ##### .###. .###.
        #...# .##.. #...# #...# ..##. #.... .#... ....# #...# #...#
        #..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#
        #.#.# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .####
        ##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....#
        #...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ...#.
        .###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .##..
        """;

    /// <summary>The pixels of an image, from 0 to 1.</summary>
    public IEnumerable<float> Image(int index) => Pixels.AsMemory(index * Size * Size, Size * Size).ToArray().Select(pixel => pixel / 255f);

    /// <summary>Draws digits of twice the font's size.</summary>
    public static Digits Draw(int count, int seed)
    {
        const int Size = 20;
        string[] font = Font.Split('\n', StringSplitOptions.TrimEntries);
        var random = new Random(seed);
        var digits = new Digits(Size, new byte[count * Size * Size], new byte[count]);
        for (int i = 0; i < count; i++)
        {
            int digit = random.Next(10), left = random.Next(Size - 9), top = random.Next(Size - 13);
            double ink = 0.5 + 0.5 * random.NextDouble();
            digits.Labels[i] = (byte)digit;
            for (int y = 0; y < Size; y++)
            {
                for (int x = 0; x < Size; x++)
                {
                    int row = (y - top) >> 1, column = (x - left) >> 1;
                    bool isInk = row is >= 0 and < 7 && column is >= 0 and < 5 && font[row][digit * 6 + column] == '#';
                    double noise = 0.25 * (random.NextDouble() + random.NextDouble() - 1);
                    digits.Pixels[(i * Size + y) * Size + x] = (byte)Math.Clamp(255 * ((isInk ? ink : 0) + noise), 0, 255);
                }
            }
        }

        return digits;
    }

    /// <summary>Reads a pair of MNIST's files.</summary>
    public static Digits Read(string folder, string part)
    {
        byte[] images = File.ReadAllBytes(Path.Combine(folder, $"{part}-images-idx3-ubyte")), labels = File.ReadAllBytes(Path.Combine(folder, $"{part}-labels-idx1-ubyte"));
        int count = BinaryPrimitives.ReadInt32BigEndian(images.AsSpan(4)), size = BinaryPrimitives.ReadInt32BigEndian(images.AsSpan(8));
        return images.Length == 16 + count * size * size && labels.Length == 8 + count
            ? new Digits(size, images[16..], labels[8..])
            : throw new InvalidDataException($"{folder}: the images and labels of {part} are not {count} squares of {size}×{size} with a label each");
    }
}
