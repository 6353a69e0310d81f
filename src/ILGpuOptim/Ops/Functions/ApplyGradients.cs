using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

// The recorded operations of functions. Kernels specialise on which inputs require gradients and which were broadcast, which are therefore types.
public static partial class ApplyOp
{
    private sealed class Gradient1<F>(F function, Tensor output, Tensor x) : Operation(output, x) where F : unmanaged, IFunction1
    {
        public override void Backward(Tape tape)
        {
            var inputs = FunctionInputs.Of(tape, Name, x);
            var targets = new GradientTargets(tape, Output, inputs);
            tape.Device.Map(new Backward1<F>(function), 1, x.Length, targets.Gradient, x.Data, targets.Of(0));
            targets.Complete();
        }
    }

    private sealed class Gradient2<F>(F function, Tensor output, FunctionInputs inputs) : Operation(output, [.. inputs.Tensors]) where F : unmanaged, IFunction2
    {
        public override void Backward(Tape tape)
        {
            switch (inputs.SlotOf(0))
            {
                case Slot.None:
                    Second<Absent>(tape);
                    break;
                case Slot.Write:
                    Second<Written>(tape);
                    break;
                default:
                    Second<Summed>(tape);
                    break;
            }
        }

        private void Second<X>(Tape tape) where X : unmanaged, ISlot
        {
            switch (inputs.SlotOf(1))
            {
                case Slot.None:
                    Launch<X, Absent>(tape);
                    break;
                case Slot.Write:
                    Launch<X, Written>(tape);
                    break;
                default:
                    Launch<X, Summed>(tape);
                    break;
            }
        }

        private void Launch<X, Y>(Tape tape) where X : unmanaged, ISlot where Y : unmanaged, ISlot
        {
            var targets = new GradientTargets(tape, Output, inputs);
            tape.Device.Map(new Backward2<F, X, Y>(function), inputs.Shape.Rows, inputs.Shape.Columns, targets.Gradient, inputs.Operand(0), inputs.Operand(1), targets.Of(0), targets.Of(1));
            targets.Complete();
        }
    }

    private sealed class Gradient3<F>(F function, Tensor output, FunctionInputs inputs) : Operation(output, [.. inputs.Tensors]) where F : unmanaged, IFunction3
    {
        public override void Backward(Tape tape)
        {
            // The first input with the result's shape becomes the first argument, whose gradient replaces that of the result. If all three were
            // broadcast, two kernels share the three sums.
            var targets = new GradientTargets(tape, Output, inputs);
            if (inputs.SlotOf(0) == Slot.Write)
                First<F>(tape, function, targets, 0);
            else if (inputs.SlotOf(1) == Slot.Write)
                First(tape, new Rotated<F>(function), targets, 1);
            else if (inputs.SlotOf(2) == Slot.Write)
                First(tape, new Rotated<Rotated<F>>(new Rotated<F>(function)), targets, 2);
            else
                Sums(tape, targets);
            targets.Complete();
        }

        private void First<G>(Tape tape, G rotated, GradientTargets targets, int first) where G : unmanaged, IFunction3
        {
            targets.TakeGradient(first);
            Second<G, Written>(tape, rotated, targets, first);
        }

        private void Sums(Tape tape, GradientTargets targets)
        {
            if (inputs.SlotOf(1) != Slot.None || inputs.SlotOf(2) != Slot.None)
                Second<F, Absent>(tape, function, targets, 0);
            if (inputs.SlotOf(0) != Slot.None)
                Launch<Rotated<Rotated<F>>, Absent, Summed, Absent>(tape, new(new(function)), targets, 2);
        }

        private void Second<G, X>(Tape tape, G rotated, GradientTargets targets, int first) where G : unmanaged, IFunction3 where X : unmanaged, ISlot
        {
            switch (inputs.SlotOf((first + 1) % 3))
            {
                case Slot.None:
                    Third<G, X, Absent>(tape, rotated, targets, first);
                    break;
                case Slot.Write:
                    Third<G, X, Written>(tape, rotated, targets, first);
                    break;
                default:
                    Third<G, X, Summed>(tape, rotated, targets, first);
                    break;
            }
        }

        private void Third<G, X, Y>(Tape tape, G rotated, GradientTargets targets, int first)
            where G : unmanaged, IFunction3
            where X : unmanaged, ISlot
            where Y : unmanaged, ISlot
        {
            switch (inputs.SlotOf((first + 2) % 3))
            {
                case Slot.None:
                    Launch<G, X, Y, Absent>(tape, rotated, targets, first);
                    break;
                case Slot.Write:
                    Launch<G, X, Y, Written>(tape, rotated, targets, first);
                    break;
                default:
                    Launch<G, X, Y, Summed>(tape, rotated, targets, first);
                    break;
            }
        }

        private void Launch<G, X, Y, Z>(Tape tape, G rotated, GradientTargets targets, int first)
            where G : unmanaged, IFunction3
            where X : unmanaged, ISlot
            where Y : unmanaged, ISlot
            where Z : unmanaged, ISlot
        {
            int second = (first + 1) % 3, third = (first + 2) % 3;
            tape.Device.Map(
                new Backward3<G, X, Y, Z>(rotated), inputs.Shape.Rows, inputs.Shape.Columns, targets.Gradient, inputs.Operand(first), inputs.Operand(second), inputs.Operand(third),
                Y.Slot == Slot.None ? targets.Gradient : targets.Of(second), Z.Slot == Slot.None ? targets.Gradient : targets.Of(third));
        }
    }
}
