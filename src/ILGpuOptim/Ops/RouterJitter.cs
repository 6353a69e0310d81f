using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Multiplicative noise before a router (Fedus, Zoph and Shazeer, "Switch transformers", 2022).</summary>
public static class RouterJitterOp
{
    /// <summary>
    /// x · u with u uniform in [1 - ε, 1 + ε), sampled for each element from the tape's random stream while the tape trains; x itself otherwise.
    /// The backward pass samples the same noise again instead of keeping it.
    /// </summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="epsilon">ε, from 0 to below 1.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException">ε lies outside [0, 1).</exception>
    public static Tensor Jitter(this Tape tape, Tensor x, float epsilon)
    {
        Scalars.Probability("Jitter", epsilon);
        if (epsilon == 0 || !tape.IsTraining)
            return x;
        x = tape.Floats(x);
        Tensor output = tape.Activation(x, x.Columns, x);
        ulong stream = tape.RandomStream++;
        Block noise = DropoutOp.RandomNumbersFor(tape, output.Data);
        tape.Device.Random(noise, RandomKind.Uniform, 2 * epsilon, tape.Seed, stream);
        tape.Device.Map(new Rule(1 - epsilon), 1, x.Length, noise, x.Data, output.Data);
        DropoutOp.Release(tape, noise, output.Data);
        tape.Record(new Gradient(output, x, epsilon, tape.Seed, stream));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, float epsilon, ulong seed, ulong stream) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block noise = Output.IsKept ? tape.Scratch(x.Length) : DropoutOp.RandomNumbersFor(tape, Output.Data);
            tape.Device.Random(noise, RandomKind.Uniform, 2 * epsilon, seed, stream);
            tape.Device.Map(new Rule(1 - epsilon), 1, x.Length, noise, Output.Gradient!.Value, tape.GradientTarget(x));
            DropoutOp.Release(tape, noise, Output.Data);
        }
    }

    /// <summary>result = x · (noise + least).</summary>
    private readonly struct Rule(float least) : IMap3
    {
        private readonly float least = least;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L noise, ref L x, ref L result) where L : struct, ILane<L> => result = x * (noise + L.Splat(least));
    }
}
