using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Dropout (Srivastava et al., 2014), scaled so that the expected value is unchanged.</summary>
public static class DropoutOp
{
    /// <summary>
    /// Zeroes elements with a probability while the tape trains, and multiplies the others by 1 / (1 - probability).
    /// The backward pass samples the same mask again instead of keeping it.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The probability lies outside [0, 1).</exception>
    public static Tensor Dropout(this Tape tape, Tensor x, float probability)
    {
        Scalars.Probability("Dropout", probability);
        if (probability == 0 || !tape.IsTraining)
            return x;
        x = tape.Floats(x);
        Tensor output = tape.Activation(x, x.Columns, x);
        ulong stream = tape.RandomStream++;
        Block mask = RandomNumbersFor(tape, output.Data);
        tape.Device.Random(mask, RandomKind.KeepMask, 1 - probability, tape.Seed, stream);
        tape.Device.Map(new ProductRule(), 1, x.Length, mask, x.Data, output.Data);
        Release(tape, mask, output.Data);
        tape.Record(new Gradient(output, x, probability, tape.Seed, stream));
        return output;
    }

    /// <summary>f32 memory for random numbers, which must not be rounded: a result's, or scratch memory for <see cref="Release"/>.</summary>
    internal static Block RandomNumbersFor(Tape tape, in Block result) => result.Type == DType.F32 ? result : tape.Scratch(result.Length);

    /// <summary>Returns what is not the result's memory.</summary>
    internal static void Release(Tape tape, in Block numbers, in Block result)
    {
        if (!ReferenceEquals(numbers.Memory, result.Memory))
            tape.Release(numbers);
    }

    private sealed class Gradient(Tensor output, Tensor x, float probability, ulong seed, ulong stream) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block mask = Output.IsKept ? tape.Scratch(x.Length) : RandomNumbersFor(tape, Output.Data);
            tape.Device.Random(mask, RandomKind.KeepMask, 1 - probability, seed, stream);
            tape.Device.Map(new ProductRule(), 1, x.Length, mask, Output.Gradient!.Value, tape.GradientTarget(x));
            Release(tape, mask, Output.Data);
        }
    }
}
