using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>Launches attention in forms that the usual models do not have.</summary>
internal static class AttentionListing
{
    private const int Length = 64;

    /// <summary>
    /// Launches the forward and backward passes with heads without vector access, usual and long heads, windows, ranges, soft caps and distance biases, and the
    /// forward pass of one query.
    /// </summary>
    /// <param name="device">The device, or that of a <see cref="KernelRecorder"/>.</param>
    public static void Launch(Device device)
    {
        Block block = device.Pool.Rent(Length * 256), ranges = device.Pool.Rent(2 * Length, DType.I32);
        device.Fill(block, 0);
        device.Upload([.. Enumerable.Range(0, 2 * Length).Select(i => i % 2 * Length)], ranges);
        foreach (int size in (int[])[31, 64, 256])
        {
            AttentionArguments attention = Causal(block, block, size);
            var gradients = new AttentionGradients(block, block, block, block);
            Launch(device, attention, gradients);
            Launch(device, attention with { KeysBefore = 16 }, gradients);
            Launch(device, attention with { Ranges = ranges, SoftCap = 1, Dropout = 0.5f, KeyBias = block }, gradients);
            Launch(device, attention with { KeysBefore = 16, SoftCap = 1 }, gradients);
            Launch(device, attention with { DistanceBias = block }, gradients with { DistanceBias = block });
            device.AttentionForward(attention with { QueryLength = 1, LogSumExp = null });
            device.AttentionForward(attention with { QueryLength = 1, LogSumExp = null, SoftCap = 1, DistanceBias = block });
        }

        if (device.HasTensorCores)
            LaunchTensor(device, ranges);
        device.Pool.Return(block);
        device.Pool.Return(ranges);
    }

    /// <summary>Causal attention of one head over <see cref="Length"/> positions, all of whose operands are one block.</summary>
    private static AttentionArguments Causal(in Block block, in Block logSumExp, int size) => new(block, block, block, block)
    {
        LogSumExp = logSumExp,
        Batch = 1,
        Heads = 1,
        KeyHeads = 1,
        HeadSize = size,
        QueryLength = Length,
        KeyLength = Length,
        QueryStride = size,
        KeyStride = size,
        OutputStride = size,
        Causal = true,
        Scale = 1,
    };

    /// <summary>Launches attention on tensor cores: heads of every width in both types, the usual ones in all forms.</summary>
    private static void LaunchTensor(Device device, in Block ranges)
    {
        Block numbers = device.Pool.Rent(Length * 128);
        foreach ((DType type, Precision precision) in ((DType, Precision)[])[(DType.BF16, Precision.BF16), (DType.F32, Precision.TF32)])
        {
            Block block = device.Pool.Rent(Length * 128, type);
            for (int size = 16; size <= 128; size += 16)
            {
                AttentionArguments attention = Causal(block, numbers, size) with { Precision = precision };
                var gradients = new AttentionGradients(block, block, block, block);
                Launch(device, attention, gradients);
                if (size is not (64 or 128))
                    continue;
                Launch(device, attention with { KeysBefore = 16 }, gradients);
                Launch(device, attention with { Dropout = 0.5f }, gradients);
                Launch(device, attention with { Ranges = ranges, SoftCap = 1, KeyBias = numbers, Dropout = 0.5f }, gradients);
                Launch(device, attention with { Ranges = ranges, SoftCap = 1, KeyBias = numbers }, gradients);
                Launch(device, attention with { DistanceBias = numbers, KeyBias = numbers }, gradients);
            }

            device.Pool.Return(block);
        }

        device.Pool.Return(numbers);
    }

    private static void Launch(Device device, in AttentionArguments attention, in AttentionGradients gradients)
    {
        device.AttentionForward(attention);
        device.AttentionBackward(attention, gradients);
    }
}
