using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>
/// Comparisons of two tensors, which are broadcast to each other, or of a tensor and a number. They have no gradient. Comparisons with NaN are 0, except
/// <see cref="NotEqual(Tape, Tensor, Tensor)"/>.
/// </summary>
public static class ComparisonOps
{
    /// <summary>1 where x &gt; y, else 0.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Greater(this Tape tape, Tensor x, Tensor y) => tape.Compare("Greater", new IsGreater(), x, y);

    /// <summary>1 where x &gt; y, else 0.</summary>
    public static Tensor Greater(this Tape tape, Tensor x, float y) => tape.Compare(new IsGreater(), x, y);

    /// <summary>1 where x ≥ y, else 0.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor GreaterOrEqual(this Tape tape, Tensor x, Tensor y) => tape.Compare("GreaterOrEqual", new IsGreaterOrEqual(), x, y);

    /// <summary>1 where x ≥ y, else 0.</summary>
    public static Tensor GreaterOrEqual(this Tape tape, Tensor x, float y) => tape.Compare(new IsGreaterOrEqual(), x, y);

    /// <summary>1 where x &lt; y, else 0.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Less(this Tape tape, Tensor x, Tensor y) => tape.Compare("Less", new IsLess(), x, y);

    /// <summary>1 where x &lt; y, else 0.</summary>
    public static Tensor Less(this Tape tape, Tensor x, float y) => tape.Compare(new IsLess(), x, y);

    /// <summary>1 where x ≤ y, else 0.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor LessOrEqual(this Tape tape, Tensor x, Tensor y) => tape.Compare("LessOrEqual", new IsLessOrEqual(), x, y);

    /// <summary>1 where x ≤ y, else 0.</summary>
    public static Tensor LessOrEqual(this Tape tape, Tensor x, float y) => tape.Compare(new IsLessOrEqual(), x, y);

    /// <summary>1 where x = y, else 0.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor Equal(this Tape tape, Tensor x, Tensor y) => tape.Compare("Equal", new IsEqual(), x, y);

    /// <summary>1 where x = y, else 0.</summary>
    public static Tensor Equal(this Tape tape, Tensor x, float y) => tape.Compare(new IsEqual(), x, y);

    /// <summary>1 where x ≠ y, or either is NaN, else 0.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
    public static Tensor NotEqual(this Tape tape, Tensor x, Tensor y) => tape.Compare("NotEqual", new IsNotEqual(), x, y);

    /// <summary>1 where x ≠ y, or either is NaN, else 0.</summary>
    public static Tensor NotEqual(this Tape tape, Tensor x, float y) => tape.Compare(new IsNotEqual(), x, y);

    private static Tensor Compare<F>(this Tape tape, string operation, F function, Tensor x, Tensor y) where F : unmanaged, IFunction2
    {
        using var paused = new Unrecorded(tape);
        return tape.Apply(operation, function, x, y);
    }

    private static Tensor Compare<F>(this Tape tape, F function, Tensor x, float y) where F : unmanaged, IFunction2
    {
        using var paused = new Unrecorded(tape);
        return tape.Apply(new WithNumber<F>(function, y), x);
    }

    /// <summary>Pauses recording until it is disposed.</summary>
    private readonly ref struct Unrecorded
    {
        private readonly Tape tape;
        private readonly bool isRecording;

        public Unrecorded(Tape tape)
        {
            this.tape = tape;
            isRecording = tape.IsRecording;
            tape.IsRecording = false;
        }

        public void Dispose() => tape.IsRecording = isRecording;
    }
}
