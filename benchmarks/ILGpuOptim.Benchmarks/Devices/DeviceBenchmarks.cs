using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Benchmarks.Devices;

/// <summary>
/// Whole operations on any device, timed by the host around work that it waits for: medians of several repetitions, after a warm-up that
/// compiles the kernels. <c>device NAME products|attention|rows|copy|train|optimizers [ARGUMENTS]</c>
/// </summary>
internal static class DeviceBenchmarks
{
    private static readonly (int M, int N, int K, bool TransposeA, bool TransposeB)[] Products =
    [
        (512, 512, 512, false, false), (1024, 1024, 1024, false, false), (4096, 4096, 4096, false, false), (8192, 8192, 8192, false, false),
        (8192, 2304, 768, false, true), (8192, 768, 768, false, true), (8192, 3072, 768, false, true), (8192, 768, 3072, false, true), (8192, 50257, 768, false, true),
        (8192, 768, 2304, false, false), (8192, 3072, 768, false, false), (8192, 768, 50257, false, false),
        (2304, 768, 8192, true, false), (3072, 768, 8192, true, false), (50257, 768, 8192, true, false), (768, 128, 768, true, false),
        (768, 384, 128, false, true), (128, 128, 768, true, false), (1, 768, 50257, false, true),
    ];

    /// <summary>Products of few rows: the layers of GPT-2 124M (weights k × n) and of LLaMA-7B (n × k), and GPT-2's head.</summary>
    private static readonly (int M, int N, int K, bool TransposeB)[] FewRows =
    [
        (1, 2304, 768, false), (1, 3072, 768, false), (1, 768, 3072, false), (1, 50257, 768, true),
        (1, 4096, 4096, true), (1, 11008, 4096, true), (1, 4096, 11008, true), (4, 11008, 4096, true), (8, 11008, 4096, true),
    ];

    /// <summary>Causal attention: GPT-2 124M over 8 × 1024 tokens, and LLaMA-7B's heads over 2048.</summary>
    private static readonly (int Batch, int Heads, int Length, int Size)[] Attentions = [(8, 12, 1024, 64), (1, 32, 2048, 128)];

    public static int Run(string[] arguments)
    {
        string name = arguments.Length > 0 ? arguments[0] : "auto", task = arguments.Length > 1 ? arguments[1] : "products";
        using Device device = Compute.Devices.Open(name, 0);
        Console.WriteLine($"{device.Name}: {device.Description}");
        string[] rest = arguments.Length > 2 ? arguments[2..] : [];
        switch (task)
        {
            case "products":
                TimeProducts(device, rest);
                break;
            case "attention":
                TimeAttention(device, rest);
                break;
            case "rows":
                TimeFewRows(device);
                break;
            case "copy":
                TimeCopy(device);
                break;
            case "train":
                TimeSteps(device, rest);
                break;
            case "optimizers":
                TimeOptimizers(device, rest);
                break;
            default:
                Console.Error.WriteLine($"{task}: no such benchmark; products, attention, rows, copy, train or optimizers");
                return 1;
        }

        return 0;
    }

    /// <summary>
    /// Products: those of a step of GPT-2 124M over 8 × 1024 tokens among them, or those named as M,N,K,NT; before them may stand <c>f32</c>, <c>tf32</c> or
    /// <c>bf16</c>. In bf16 all three matrices are stored so.
    /// </summary>
    private static void TimeProducts(Device device, string[] arguments)
    {
        (Precision precision, string[] named) = TakePrecision(arguments);
        DType type = precision == Precision.BF16 ? DType.BF16 : DType.F32;
        IEnumerable<(int M, int N, int K, bool TransposeA, bool TransposeB)> shapes = named.Length == 0 ? Products : named.Select(Shape);
        foreach ((int m, int n, int k, bool transposeA, bool transposeB) in shapes)
        {
            Block a = Random(device, (long)m * k, type), b = Random(device, (long)n * k, type), c = device.Pool.Rent((long)m * n, type);
            double operations = 2.0 * m * n * k;
            double seconds = Median(device, () => device.Gemm(new GemmArguments(a, b, c, m, n, k) { TransposeA = transposeA, TransposeB = transposeB, Precision = precision }), operations < 1e10 ? 20 : 5);
            Console.WriteLine($"{m,6} x {n,5} x {k,5} {(transposeA ? 'T' : 'N')}{(transposeB ? 'T' : 'N')} {seconds * 1e6,10:F1} us {operations / seconds * 1e-9,9:F0} GFLOP/s");
            device.Pool.Return(a);
            device.Pool.Return(b);
            device.Pool.Return(c);
            device.Pool.Trim();
        }
    }

    /// <summary>Products of few rows, with weights of every type: the bytes of the weights per second.</summary>
    private static void TimeFewRows(Device device)
    {
        foreach (DType type in (DType[])[DType.F32, DType.BF16, DType.I8])
        {
            foreach ((int m, int n, int k, bool transposeB) in FewRows)
            {
                (int rows, int columns) = transposeB ? (n, k) : (k, n);
                Block a = Random(device, (long)m * k), floats = Random(device, (long)n * k), b = device.Pool.Rent(rows, columns, type), c = device.Pool.Rent((long)m * n);
                device.Map(new CopyRule(), rows, columns, floats, b);
                device.Pool.Return(floats);
                double seconds = Median(device, () => device.Gemm(new GemmArguments(a, b, c, m, n, k) { TransposeB = transposeB }), 20), bytes = type.Bytes(rows, columns);
                Console.WriteLine($"{m,6} x {n,5} x {k,5} N{(transposeB ? 'T' : 'N')} {type,-4} {seconds * 1e6,10:F1} us {bytes / seconds * 1e-9,9:F0} GB/s");
                foreach (Block block in (Block[])[a, b, c])
                    device.Pool.Return(block);
                device.Pool.Trim();
            }
        }
    }

    /// <summary>
    /// Causal attention and its gradient, or that of the shapes named as BATCH,HEADS,LENGTH,SIZE; before them may stand <c>f32</c>, <c>tf32</c> or <c>bf16</c>. In bf16 all operands are
    /// stored so. Operations are those of the pairs below the diagonal: two products forward, five for the gradient.
    /// </summary>
    private static void TimeAttention(Device device, string[] arguments)
    {
        (Precision precision, string[] named) = TakePrecision(arguments);
        DType type = precision == Precision.BF16 ? DType.BF16 : DType.F32;
        foreach ((int batch, int heads, int length, int size) in named.Length == 0 ? Attentions : named.Select(Attention))
        {
            long numbers = (long)batch * length * heads * size;
            int width = heads * size;
            Block packed = Random(device, 3 * numbers, type), gradient = device.Pool.Rent(3 * numbers, type), output = device.Pool.Rent(numbers, type), outputGradient = Random(device, numbers, type);
            Block sums = device.Pool.Rent((long)batch * heads * length);
            Block Part(Block block, int part) => block.Slice(part * width, block.Length - part * width);
            var attention = new AttentionArguments(packed, Part(packed, 1), Part(packed, 2), output)
            {
                Batch = batch,
                Heads = heads,
                KeyHeads = heads,
                HeadSize = size,
                QueryLength = length,
                KeyLength = length,
                QueryStride = 3 * width,
                KeyStride = 3 * width,
                OutputStride = width,
                Causal = true,
                Scale = 1 / MathF.Sqrt(size),
                LogSumExp = sums,
                Precision = precision,
            };
            var gradients = new AttentionGradients(outputGradient, gradient, Part(gradient, 1), Part(gradient, 2));
            double product = 2.0 * batch * heads * size * length * (length + 1) / 2;
            Report("forward", 2 * product, Median(device, () => device.AttentionForward(attention), 20));
            Report("backward", 5 * product, Median(device, () => device.AttentionBackward(attention, gradients), 20));
            foreach (Block block in (Block[])[packed, gradient, output, outputGradient, sums])
                device.Pool.Return(block);
            device.Pool.Trim();

            void Report(string pass, double operations, double seconds) =>
                Console.WriteLine($"{pass,-8} {batch} x {length} tokens, {heads} heads of {size} {seconds * 1e6,10:F1} us {operations / seconds * 1e-12,9:F2} TFLOP/s");
        }
    }

    private static (int, int, int, int) Attention(string text)
    {
        string[] parts = text.Split(',');
        return (Number(parts[0]), Number(parts[1]), Number(parts[2]), Number(parts[3]));
    }

    private static (Precision Precision, string[] Others) TakePrecision(string[] arguments) =>
        arguments.Length > 0 && Enum.TryParse(arguments[0], ignoreCase: true, out Precision precision) ? (precision, arguments[1..]) : (Precision.F32, arguments);

    private static (int, int, int, bool, bool) Shape(string text)
    {
        string[] parts = text.Split(',');
        return (Number(parts[0]), Number(parts[1]), Number(parts[2]), parts[3][0] == 'T', parts[3][1] == 'T');
    }

    /// <summary>A copy of a gibibyte: bytes read and written.</summary>
    private static void TimeCopy(Device device)
    {
        const long Length = 1 << 28;
        Block source = Random(device, Length), target = device.Pool.Rent(Length);
        double seconds = Median(device, () => device.Copy(source, target), 5);
        Console.WriteLine($"copy of 1 GiB: {seconds * 1e3:F3} ms, {Length * 8 / seconds * 1e-9:F0} GB/s");
        seconds = Median(device, () => device.Map(default(Doubled), 1, Length, source), 5);
        Console.WriteLine($"map over 1 GiB: {seconds * 1e3:F3} ms, {Length * 8 / seconds * 1e-9:F0} GB/s");
        device.Pool.Return(source);
        device.Pool.Return(target);
    }

    /// <summary>Training steps of a model: <c>[f32|tf32|bf16] char|gpt2 BATCH LENGTH [OPTIMIZER]</c>; random tokens, clipping, the loss back on the host.</summary>
    private static void TimeSteps(Device device, string[] arguments)
    {
        (Precision precision, arguments) = TakePrecision(arguments);
        string model = arguments.Length > 0 ? arguments[0] : "char";
        int batch = arguments.Length > 1 ? Number(arguments[1]) : 12, length = arguments.Length > 2 ? Number(arguments[2]) : 64;
        string optimizerName = arguments.Length > 3 ? arguments[3] : "adamw";
        Gpt2Config config = model == "gpt2"
            ? new Gpt2Config { VocabularySize = 50257, ContextLength = 1024, HiddenSize = 768, Layers = 12, Heads = 12 }
            : new Gpt2Config { VocabularySize = 65, ContextLength = length, HiddenSize = 128, Layers = 4, Heads = 4 };
        using LanguageModel network = config.Create(new Initializer(device, 1));
        using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = optimizerName }, [.. network.Parameters], out _);
        using var clipping = new GradientClipping(device, network.Parameters);
        using var tape = new Tape(device) { Precision = precision };
        var random = new Random(1);
        int[] inputs = new int[batch * length], targets = new int[batch * length];
        float last = 0;
        void Step()
        {
            for (int i = 0; i < inputs.Length; i++)
                (inputs[i], targets[i]) = (random.Next(config.VocabularySize), random.Next(config.VocabularySize));
            Tensor loss = network.Loss(tape, inputs, targets, batch);
            tape.Backward(loss);
            last = loss.Item();
            tape.Reset();
            optimizer.GradientFactor = clipping.Measure(tape.Gradients, 1);
            optimizer.Step(tape.Gradients);
            tape.Gradients.Clear();
        }

        for (int i = 0; i < 3; i++)
            Step();
        double seconds = Median(device, Step, 20, warm: false);
        Console.WriteLine($"{model} {batch} x {length}, {optimizerName}, {precision}: {seconds * 1e3:F2} ms a step, {batch * length / seconds:F0} tokens/s, last loss {last:F3}");
    }

    /// <summary>Optimizer steps over the parameters of GPT-2 124M.</summary>
    private static void TimeOptimizers(Device device, string[] names)
    {
        var config = new Gpt2Config { VocabularySize = 50257, ContextLength = 1024, HiddenSize = 768, Layers = 12, Heads = 12 };
        foreach (string name in names.Length > 0 ? names : ["sgd", "adam", "adamw", "lion", "lamb", "adafactor", "came", "apollo", "apollo-mini", "adam-mini", "muon"])
        {
            using LanguageModel network = config.Create(new Initializer(device, 1));
            using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = name }, [.. network.Parameters], out _);
            var gradients = new Gradients(device);
            foreach (Parameter parameter in network.Parameters)
                device.Random(gradients.Target(parameter, out _), RandomKind.Normal, 1e-3f, 1, 0);
            Console.WriteLine($"{name,-12} {Median(device, () => optimizer.Step(gradients), 10) * 1e3,9:F3} ms");
            gradients.Release();
            device.Pool.Trim();
        }
    }

    private static Block Random(Device device, long length, DType type = DType.F32)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1, 1, 0);
        if (type == DType.F32)
            return block;
        Block narrow = device.Pool.Rent(length, type);
        device.Copy(block, narrow);
        device.Pool.Return(block);
        return narrow;
    }

    /// <summary>The median seconds of a run. Short runs are timed in groups, so that waiting for the device is not what is measured.</summary>
    private static double Median(Device device, Action run, int count, bool warm = true)
    {
        int group = 1;
        if (warm)
        {
            run();
            device.Synchronize();
            long began = Stopwatch.GetTimestamp();
            run();
            device.Synchronize();
            group = Math.Clamp((int)(0.002 / Stopwatch.GetElapsedTime(began).TotalSeconds), 1, 50);
        }

        var times = new double[count];
        for (int i = 0; i < count; i++)
        {
            long began = Stopwatch.GetTimestamp();
            for (int j = 0; j < group; j++)
                run();
            device.Synchronize();
            times[i] = Stopwatch.GetElapsedTime(began).TotalSeconds / group;
        }

        Array.Sort(times);
        return times[count / 2];
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private readonly struct Doubled : IMap1
    {
        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a) where L : struct, ILane<L> => a += a;
    }
}
