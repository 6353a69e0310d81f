using System.Runtime.InteropServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim;

// Early return of memory: scopes without recording, and recomputed blocks.
public sealed partial class Tape
{
    /// <summary>For each open scope, the index of its first rented block.</summary>
    private readonly List<int> scopes = [];

    /// <summary>Tensors from outside that the part being computed again has read.</summary>
    private readonly List<Tensor> outside = [];

    /// <summary>Parameters that the block at hand uses, counted without recording; when <see cref="isCounting"/>.</summary>
    private readonly List<Parameter> counted = [];
    private bool isCounting, countsTensors;
    private int region;

    /// <summary>
    /// Begins a scope. When nothing is recorded, memory that the tape allocates within the scope is returned at its end, except results given to
    /// <see cref="TapeScope.Keep"/>: a prefill or an evaluation then holds the activations of one scope at a time. While the tape records, a scope
    /// does nothing.
    /// </summary>
    public TapeScope Scope()
    {
        if (IsRecording)
            return default;
        scopes.Add(rented.Count);
        return new TapeScope(this, scopes.Count);
    }

    /// <summary>
    /// Runs a block of operations without keeping its activations: the backward pass computes them again (activation checkpointing; Chen et al.,
    /// 2016). The results and gradients have the same bits as without. Only x, the result and what the block reads from outside stay in memory.
    /// </summary>
    /// <param name="x">The block's input. The block may read other tensors and parameters too.</param>
    /// <param name="block">Computes the result from x. It must do the same each time: it is called now and once within the backward pass, with the same random draws.</param>
    /// <returns>The block's result.</returns>
    public Tensor Recompute(Tensor x, Func<Tensor, Tensor> block)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(block);
        if (!IsRecording)
        {
            using TapeScope scope = Scope();
            return scope.Keep(block(x));
        }

        Tensor y;
        bool isOwn;
        ulong stream = RandomStream;
        IsRecording = false;
        (isCounting, countsTensors) = (true, false);
        counted.Clear();
        try
        {
            using TapeScope scope = Scope();
            y = block(x) ?? throw new InvalidOperationException("a block that is recomputed returned null instead of its result");
            isOwn = KeepRented(y.Data);
        }
        finally
        {
            (IsRecording, isCounting) = (true, false);
        }

        if (counted.Count == 0 && !countsTensors)
            return y;

        // The result takes the memory over, unless that belongs to a tensor from outside.
        Tensor result = isOwn
            ? new Tensor(y.Data, y.Sizes()) { Tape = this, Recording = recording, RequiresGradient = true, IsKept = y.IsKept }
            : new Tensor(y, y.Sizes()) { Tape = this, Recording = recording, RequiresGradient = true };
        foreach (Parameter parameter in counted)
            Gradients.Await(parameter);
        Record(new Recomputation(result, x, block, [.. counted], stream, IsTraining));
        return result;
    }

    /// <summary>Notes what an operation reads that is not recorded.</summary>
    private void Count(Tensor input)
    {
        if (input is Parameter { RequiresGradient: true } parameter)
            counted.Add(parameter);
        else
            countsTensors |= input.RequiresGradient;
    }

    /// <summary>Computes a block again, recording it, and takes its gradient.</summary>
    private void Recompute(Recomputation part)
    {
        Tensor output = part.Output;
        Block gradient = output.Gradient!.Value;
        output.Gradient = null;
        if (!output.IsView && !output.IsKept)
        {
            output.WasReleased = true;
            Release(output.Memory);
        }

        int first = operations.Count, firstOutside = outside.Count, own = ++region;
        (ulong stream, bool isTraining, bool isRecording) = (RandomStream, IsTraining, IsRecording);
        scopes.Add(rented.Count);
        int depth = scopes.Count;
        (RandomStream, IsTraining, IsRecording) = (part.Stream, part.IsTraining, true);
        Tensor y;
        try
        {
            y = part.Block(part.X);
        }
        finally
        {
            (RandomStream, IsTraining, IsRecording) = (stream, isTraining, isRecording);
        }

        if (!y.Sizes().AsSpan().SequenceEqual(output.Sizes()))
            throw new InvalidOperationException($"a block that is computed again must do the same each time: it gave {output} first, then {y}");

        // Its own operations keep the parameters waiting from here on.
        foreach (Parameter parameter in part.Parameters)
            Complete(parameter);
        for (int i = first; i < operations.Count; i++)
            operations[i].Output.Region = own;
        for (int i = first; i < operations.Count; i++)
        {
            foreach (Tensor? input in operations[i].Inputs)
            {
                if (input is { RequiresGradient: true } and not Parameter && input.Region != own)
                    outside.Add(input);
            }
        }

        if (!y.RequiresGradient)
        {
            // The result of a comparison, or a detached one: which inputs it really depends on shows only when it is recorded.
            Release(gradient);
        }
        else if (y.Region == own)
        {
            y.Gradient = gradient;
        }
        else
        {
            // The result is a tensor from outside.
            AddToGradient(y, gradient);
            Release(gradient);
        }

        TakeGradients(first);

        // Gradients of tensors from outside live on; the part around this one, if there is one, decides for itself which are from outside.
        int left = firstOutside;
        for (int i = firstOutside; i < outside.Count; i++)
        {
            if (outside[i].Region == own)
                continue;
            if (outside[i].Gradient is { } kept)
                KeepRented(kept);
            outside[left++] = outside[i];
        }

        outside.RemoveRange(left, outside.Count - left);
        if (depth == 1)
            outside.Clear();
        EndScope(depth);
    }

    /// <summary>Moves a block out of the innermost scope.</summary>
    /// <returns>True if the block belonged to it.</returns>
    internal bool KeepRented(in Block block)
    {
        int index = scopes.Count == 0 ? -1 : IndexOf(block, scopes[^1]);
        if (index < 0)
            return false;
        int first = scopes[^1]++;
        (rented[first], rented[index]) = (rented[index], rented[first]);
        return true;
    }

    /// <summary>Returns the memory of the innermost scope.</summary>
    internal void EndScope(int depth)
    {
        // A reset has ended all of them.
        if (scopes.Count != depth)
            return;
        ReturnFrom(scopes[^1]);
        scopes.RemoveAt(scopes.Count - 1);
    }

    /// <summary>Returns rented blocks from an index on.</summary>
    private void ReturnFrom(int first)
    {
        try
        {
            Device.Pool.ReturnAll(CollectionsMarshal.AsSpan(rented)[first..]);
        }
        finally
        {
            rented.RemoveRange(first, rented.Count - first);
        }
    }

    private void ResetScopes()
    {
        scopes.Clear();
        outside.Clear();
        isCounting = false;
    }

    /// <summary>Removes a block: the last one of its scope takes its place, and so on outwards to the end of the list.</summary>
    private void RemoveRented(int index)
    {
        for (int i = 0; i < scopes.Count; i++)
        {
            if (scopes[i] <= index)
                continue;
            int last = --scopes[i];
            rented[index] = rented[last];
            index = last;
        }

        rented[index] = rented[^1];
        rented.RemoveAt(rented.Count - 1);
    }

    private sealed class Recomputation(Tensor output, Tensor x, Func<Tensor, Tensor> block, Parameter[] parameters, ulong stream, bool isTraining) : Operation(output, x)
    {
        public Tensor X => x;

        public Func<Tensor, Tensor> Block => block;

        public Parameter[] Parameters => parameters;

        public ulong Stream => stream;

        public bool IsTraining => isTraining;

        public override void Backward(Tape tape) => tape.Recompute(this);
    }
}

/// <summary>A scope of a tape that does not record, from <see cref="Tape.Scope"/>. Disposing it returns its memory; the default value does nothing.</summary>
public readonly ref struct TapeScope
{
    private readonly Tape? tape;
    private readonly int depth;

    /// <summary>Begins a scope.</summary>
    /// <param name="tape">The tape whose memory is returned.</param>
    /// <param name="depth">The number of open scopes, this one included.</param>
    internal TapeScope(Tape tape, int depth) => (this.tape, this.depth) = (tape, depth);

    /// <summary>Keeps a result beyond the end of the scope.</summary>
    /// <param name="result">A result of an operation.</param>
    /// <returns>The result.</returns>
    public Tensor Keep(Tensor result)
    {
        ArgumentNullException.ThrowIfNull(result);
        tape?.KeepRented(result.Memory);
        return result;
    }

    /// <summary>Returns the memory that was allocated within the scope and not kept.</summary>
    public void Dispose() => tape?.EndScope(depth);
}
