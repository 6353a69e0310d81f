using ILGpuOptim.Compute;

namespace ILGpuOptim;

// The backward pass, and how operations write the gradients of their inputs.
public sealed partial class Tape
{
    /// <summary>
    /// Takes the gradient of a scalar with respect to everything recorded, and ends the recording. Parameters' gradients are added to those
    /// already there unless they were cleared. The scalar stays readable until <see cref="Reset"/>; results of operations do when they are kept
    /// (<see cref="Tensor.IsKept"/>).
    /// </summary>
    /// <param name="loss">A tensor of one element.</param>
    /// <exception cref="ArgumentException">The loss was not recorded by this tape, depends on no parameter that is trained, or is no scalar.</exception>
    /// <exception cref="InvalidOperationException">A backward pass was already taken from this recording.</exception>
    /// <exception cref="ObjectDisposedException">The tape was reset since.</exception>
    public void Backward(Tensor loss)
    {
        CheckOpen();
        ArgumentNullException.ThrowIfNull(loss);
        if (loss.Tape is not null && loss.Tape != this)
            throw OfAnotherTape(loss);
        if (loss.Length != 1)
            throw new ArgumentException($"a backward pass begins at a scalar, not at a tensor of shape {loss}; take its mean or sum first", nameof(loss));
        _ = loss.Data;
        if (loss.RequiresGradient && loss.Tape is not null && loss.Recording != recording)
            throw new InvalidOperationException("a backward pass was already taken from this recording, and its operations are gone; compute the loss again, or add several losses and take one backward pass from their sum");
        if (!loss.RequiresGradient || !Recorded(loss))
            throw new ArgumentException("a backward pass begins at a scalar that this tape has recorded: IsRecording must be set while it is computed, and it must depend on a parameter that is not frozen", nameof(loss));
        loss.IsKept = loss.HasUnitGradient = true;
        loss.Gradient = Scratch(1, loss.Memory.Type);
        Device.Fill(loss.Gradient.Value, 1);
        try
        {
            TakeGradients(0);
        }
        catch
        {
            // Nothing of a recording that failed may take part in the next.
            operations.Clear();
            discarded.Clear();
            ResetScopes();
            throw;
        }
        finally
        {
            recording++;
            Gradients.AwaitNothing();
        }
    }

    /// <summary>Takes the gradients of recorded operations from the last one back, and forgets them.</summary>
    private void TakeGradients(int first)
    {
        while (operations.Count > first)
        {
            Operation operation = operations[^1];
            operations.RemoveAt(operations.Count - 1);
            Tensor output = operation.Output;
            if (output.Gradient is not null)
                operation.Backward(this);
            foreach (Block block in discarded)
                Release(block);
            discarded.Clear();
            foreach (Tensor? input in operation.Inputs)
            {
                if (input is Parameter { RequiresGradient: true } parameter)
                    Complete(parameter);
            }

            if (output.Gradient is { } gradient)
                Release(gradient);
            output.Gradient = null;
            if (!output.IsView && !output.IsKept)
            {
                output.WasReleased = true;
                Release(output.Memory);
            }

            BetweenOperations?.Invoke();
        }
    }

    private void Complete(Parameter parameter)
    {
        if (Gradients.Completes(parameter))
            GradientReady?.Invoke(parameter);
    }

    private bool Recorded(Tensor result)
    {
        for (int i = operations.Count - 1; i >= 0; i--)
        {
            if (ReferenceEquals(operations[i].Output, result))
                return true;
        }

        return false;
    }

    /// <summary>The memory for the gradient of an operation's input, in the input's type (of a parameter: f32), and the factor (0 or 1) of its present contents.</summary>
    public Block GradientOf(Tensor input, out float beta)
    {
        if (input is Parameter parameter)
            return Gradients.Target(parameter, out beta);
        beta = input.Gradient is null ? 0 : 1;
        input.Gradient ??= Scratch(input.Length, input.Memory.Type);
        return input.Gradient.Value;
    }

    /// <summary>
    /// The operand to which a map or a row program writes, or sums, an input's gradient: it accumulates when the gradient has a value already. When
    /// the input requires no gradient, scratch memory takes its place.
    /// </summary>
    /// <param name="input">An input of the operation whose gradient is being taken.</param>
    /// <param name="layout">Which elements of the rectangle it has.</param>
    public Operand GradientTarget(Tensor input, Layout layout = Layout.Full)
    {
        if (input.RequiresGradient)
            return new Operand(GradientOf(input, out float beta), layout) { Accumulate = beta != 0 };
        Block ignored = Scratch(input.Length, TypeOf(input));
        discarded.Add(ignored);
        return new Operand(ignored, layout);
    }

    /// <summary>
    /// Adds <paramref name="output"/>'s gradient to an input of the same size. The memory itself changes hands when
    /// the input has no gradient yet and both are of one type: it is not needed after this operation.
    /// </summary>
    public void PassGradient(Tensor output, Tensor input)
    {
        if (!input.RequiresGradient)
            return;
        if (input is not Parameter && input.Gradient is null && output.Gradient!.Value.Type == input.Memory.Type)
        {
            input.Gradient = output.Gradient;
            output.Gradient = null;
            return;
        }

        AddToGradient(input, output.Gradient!.Value);
    }

    /// <summary>Adds values, which do not change, to an input's gradient.</summary>
    internal void AddToGradient(Tensor input, in Block added)
    {
        Block target = GradientOf(input, out float beta);
        if (beta == 0)
            Device.Copy(added, target);
        else
            Device.Map(new AddRule(), 1, input.Length, target, added);
    }
}
