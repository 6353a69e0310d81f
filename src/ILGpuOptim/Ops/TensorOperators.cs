namespace ILGpuOptim.Ops;

/// <summary>
/// Arithmetic as it is written: <c>(a * b).Sum(-1)</c>. Operations are recorded by the tape of an operand. Tensors are broadcast to each other as in
/// NumPy: sizes are aligned at the last, and a size of 1 repeats.
/// </summary>
public static class TensorOperators
{
    extension(Tensor)
    {
        /// <summary>The sum of two tensors, broadcast to each other.</summary>
        /// <exception cref="ArgumentException">The shapes cannot be broadcast.</exception>
        /// <exception cref="InvalidOperationException">Neither operand belongs to a tape.</exception>
        public static Tensor operator +(Tensor x, Tensor y) => TapeOf("Add", x, y).Add(x, y);

        /// <summary>The difference of two tensors, broadcast to each other.</summary>
        /// <inheritdoc cref="extension(Tensor).op_Addition(Tensor, Tensor)"/>
        public static Tensor operator -(Tensor x, Tensor y) => TapeOf("Subtract", x, y).Subtract(x, y);

        /// <summary>The product of the elements of two tensors, broadcast to each other.</summary>
        /// <inheritdoc cref="extension(Tensor).op_Addition(Tensor, Tensor)"/>
        public static Tensor operator *(Tensor x, Tensor y) => TapeOf("Multiply", x, y).Multiply(x, y);

        /// <summary>The quotient of the elements of two tensors, broadcast to each other.</summary>
        /// <inheritdoc cref="extension(Tensor).op_Addition(Tensor, Tensor)"/>
        public static Tensor operator /(Tensor x, Tensor y) => TapeOf("Divide", x, y).Divide(x, y);

        /// <summary>A number added to every element.</summary>
        public static Tensor operator +(Tensor x, float y) => TapeOf("Affine", x).Affine(x, 1, y);

        /// <summary>A number added to every element.</summary>
        public static Tensor operator +(float x, Tensor y) => TapeOf("Affine", y).Affine(y, 1, x);

        /// <summary>A number subtracted from every element.</summary>
        public static Tensor operator -(Tensor x, float y) => TapeOf("Affine", x).Affine(x, 1, -y);

        /// <summary>A number minus every element.</summary>
        public static Tensor operator -(float x, Tensor y) => TapeOf("Affine", y).Affine(y, -1, x);

        /// <summary>A number times every element.</summary>
        public static Tensor operator *(Tensor x, float y) => TapeOf("Affine", x).Affine(x, y);

        /// <summary>A number times every element.</summary>
        public static Tensor operator *(float x, Tensor y) => TapeOf("Affine", y).Affine(y, x);

        /// <summary>Every element over a number.</summary>
        public static Tensor operator /(Tensor x, float y) => TapeOf("Divide", x).Divide(x, y);

        /// <summary>A number over every element.</summary>
        public static Tensor operator /(float x, Tensor y) => TapeOf("Divide", y).Divide(x, y);

        /// <summary>Every element negated.</summary>
        public static Tensor operator -(Tensor x) => TapeOf("Affine", x).Affine(x, -1);

        /// <summary>1 where the left is greater, else 0.</summary>
        public static Tensor operator >(Tensor x, Tensor y) => TapeOf("Greater", x, y).Greater(x, y);

        /// <summary>1 where the left is less, else 0.</summary>
        public static Tensor operator <(Tensor x, Tensor y) => TapeOf("Less", x, y).Less(x, y);

        /// <summary>1 where the left is greater or equal, else 0.</summary>
        public static Tensor operator >=(Tensor x, Tensor y) => TapeOf("GreaterOrEqual", x, y).GreaterOrEqual(x, y);

        /// <summary>1 where the left is less or equal, else 0.</summary>
        public static Tensor operator <=(Tensor x, Tensor y) => TapeOf("LessOrEqual", x, y).LessOrEqual(x, y);

        /// <summary>1 where an element is greater than a number, else 0.</summary>
        public static Tensor operator >(Tensor x, float y) => TapeOf("Greater", x).Greater(x, y);

        /// <summary>1 where an element is less than a number, else 0.</summary>
        public static Tensor operator <(Tensor x, float y) => TapeOf("Less", x).Less(x, y);

        /// <summary>1 where an element is greater than a number or equal to it, else 0.</summary>
        public static Tensor operator >=(Tensor x, float y) => TapeOf("GreaterOrEqual", x).GreaterOrEqual(x, y);

        /// <summary>1 where an element is less than a number or equal to it, else 0.</summary>
        public static Tensor operator <=(Tensor x, float y) => TapeOf("LessOrEqual", x).LessOrEqual(x, y);
    }

    /// <summary>The tape that records an operation, which is named as the tape's method.</summary>
    /// <exception cref="ArgumentNullException">An operand is null.</exception>
    /// <exception cref="InvalidOperationException">No operand belongs to one.</exception>
    internal static Tape TapeOf(string operation, params ReadOnlySpan<Tensor> operands)
    {
        Tape? tape = null;
        foreach (Tensor operand in operands)
        {
            Shapes.NotNull(operation, operand, "an operand");
            tape ??= operand.Tape;
        }

        return tape ?? throw new InvalidOperationException($"{operation}: {operands[0].Text()} belongs to no tape (parameters belong to none); call tape.{operation} on the tape that should record it");
    }
}
