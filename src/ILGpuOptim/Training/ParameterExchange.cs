using System.Diagnostics;
using System.Numerics;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>
/// Moves gradients to the owners of their parameters, and updated parameters to all ranks. Gradients are summed along a fixed binary tree over the ranks:
/// at level k, ranks that differ in bit k exchange the sums of their subtrees, each keeping those whose owner agrees with it in the bits up to k
/// (recursive halving). Parameters go the same way back (recursive doubling). Gradients move while the backward pass goes on, and parameters while owners
/// update others and in the next forward pass: each read waits until the parameter has arrived (<see cref="Parameter.Arrival"/>).
/// </summary>
/// <remarks>In one step the ranks together send (ranks − 1) · (4 · trained elements + bytes of the trained parameters); with gradients in bf16, 2 · elements.</remarks>
internal sealed class ParameterExchange : IDisposable
{
    /// <summary>The most bytes of one message.</summary>
    private const int MessageBytes = 4 << 20;

    /// <summary>The model is divided into at least so many buckets, so that small ones overlap too.</summary>
    private const int Buckets = 8;

    private readonly ExchangeLevel[] levels;
    private readonly ExchangePipeline reduction, distribution;
    private readonly GradientValues gradients;
    private readonly ParameterValues updated;
    private readonly IReadOnlyList<Parameter> trained;
    private readonly Communicator communicator;
    private readonly Device device;
    private readonly Action<Parameter> arrival;
    private readonly Action finish;
    private readonly EventHandler beforeDisposal;

    /// <summary>Prepares for the trained parameters.</summary>
    /// <param name="communicator">The ranks, a power of two.</param>
    /// <param name="ownership">The owners of the parameters.</param>
    /// <param name="trained">The parameters in the order of the updates; gradients become complete about in the opposite order.</param>
    /// <param name="gradients">The gradients of this rank.</param>
    /// <param name="sum">Adds two gradients.</param>
    /// <param name="isLayerwise">Whether gradients are exchanged one by one (<see cref="Reduce"/>).</param>
    public ParameterExchange(Communicator communicator, Ownership ownership, IReadOnlyList<Parameter> trained, Gradients gradients, GradientSum sum, bool isLayerwise)
    {
        (this.communicator, this.trained, device) = (communicator, trained, gradients.Device);
        (arrival, finish, beforeDisposal) = (Await, FinishParameters, (_, _) => TryFinishParameters());
        int rank = communicator.Rank;
        this.gradients = new GradientValues(gradients, sum, trained);
        updated = new ParameterValues();
        long bytes = trained.Sum(this.gradients.BytesOf), bucket = Math.Min(MessageBytes, bytes / Buckets);
        int message = (int)Math.Min(MessageBytes, Math.Max(bytes, trained.Sum(updated.BytesOf)));
        levels = [.. Enumerable.Range(0, BitOperations.Log2((uint)communicator.Size)).Select(level => new ExchangeLevel(communicator, rank ^ (1 << level), message))];
        reduction = new ExchangePipeline(levels, this.gradients, [.. trained.Reverse()], isLayerwise ? 0 : bucket,
            (parameter, level) => (Difference(parameter) & ((1 << level) - 1)) == 0 && (Difference(parameter) & (1 << level)) != 0,
            (parameter, level) => (Difference(parameter) & ((2 << level) - 1)) == 0);
        distribution = new ExchangePipeline(levels, updated, trained, bucket,
            (parameter, level) => Difference(parameter) < 1 << level,
            (parameter, level) => (Difference(parameter) ^ (1 << level)) < 1 << level);

        int Difference(Parameter parameter) => rank ^ ownership.Of(parameter);
    }

    /// <summary>Whether exchanges overlap with computation. Otherwise all are made at the end of the backward pass, and of the updates.</summary>
    public bool Overlaps { get; set; } = true;

    /// <summary>Refuses to go on after an exchange that failed, of which other ranks have a part of the data.</summary>
    /// <exception cref="InvalidOperationException">An exchange failed.</exception>
    public void CheckWhole()
    {
        if (!reduction.IsIdle || !(distribution.IsIdle || distribution.IsUnderWay))
            throw ExchangePipeline.Failed();
    }

    /// <summary>Lets exchanges go on; never waits.</summary>
    public void Advance()
    {
        reduction.Advance();
        distribution.Advance();
    }

    /// <summary>True if the exchange of a gradient was allowed to begin.</summary>
    public bool IsComplete(Parameter parameter) => reduction.IsComplete(parameter);

    /// <summary>Allows the exchange of a gradient, which does not change any more.</summary>
    public void Complete(Parameter parameter)
    {
        if (!Overlaps)
            return;
        communicator.Unfinished?.Invoke();
        reduction.Complete(parameter);
    }

    /// <summary>Waits until all gradients are summed over the ranks; a sum is in the gradient of the owner. Those of other ranks are undefined.</summary>
    public void FinishGradients()
    {
        communicator.Unfinished?.Invoke();
        Finish(reduction);
    }

    /// <summary>Sums the gradient of one parameter, and waits for it. Every rank calls this in the same order of parameters.</summary>
    public void Reduce(Parameter parameter)
    {
        communicator.Unfinished?.Invoke();
        reduction.Exchange(parameter);
    }

    /// <summary>Allows the exchange of a parameter that the optimizer has passed, updated here if this rank owns it.</summary>
    /// <param name="parameter">The parameter.</param>
    /// <param name="waits">Leaves the exchange to <see cref="SendParameters"/>.</param>
    public void Updated(Parameter parameter, bool waits = false)
    {
        if (gradients.Has(parameter))
            updated.Add(parameter);
        if (Overlaps && !waits)
            distribution.Complete(parameter);
    }

    /// <summary>
    /// Begins to exchange all updated parameters, and leaves them under way: reads and writes of a parameter wait until it has arrived, and any other exchange, or the
    /// disposal of the device, waits for all.
    /// </summary>
    /// <param name="waits">Waits for all now.</param>
    public void SendParameters(bool waits)
    {
        distribution.Begin();
        communicator.Unfinished = finish;
        device.Disposing += beforeDisposal;
        foreach (Parameter parameter in trained)
            parameter.Arrival = updated.Has(parameter) ? arrival : null;
        if (waits || !Overlaps)
            FinishParameters();
    }

    /// <summary>Waits until every rank has all updated parameters.</summary>
    /// <exception cref="InvalidOperationException">An exchange failed before.</exception>
    public void FinishParameters()
    {
        CheckWhole();
        if (distribution.IsIdle)
            return;
        Finish(distribution);
        foreach (Parameter parameter in trained)
            parameter.Arrival = null;
        updated.Clear();
        Unhook();
    }

    /// <summary>Gives every rank the present values of all trained parameters of their owners.</summary>
    /// <exception cref="InvalidOperationException">An exchange failed before.</exception>
    public void Distribute()
    {
        // Of this trainer, or of another one with the same ranks.
        communicator.Unfinished?.Invoke();
        CheckWhole();
        foreach (Parameter parameter in trained)
            updated.Add(parameter);
        Finish(distribution);
        updated.Clear();
    }

    /// <summary>The number of buckets of updated parameters, and of those that have arrived while parameters are under way.</summary>
    internal (int Arrived, int All) Progress => (distribution.DoneCount, distribution.Count);

    /// <summary>
    /// The time in which this rank could not go on before an exchange of gradients or parameters was done, copies included; exchanges of single gradients
    /// (<see cref="Reduce"/>) are not counted.
    /// </summary>
    public TimeSpan Waited { get; private set; }

    /// <summary>Ends what is under way, since other ranks need it, and returns the memory.</summary>
    public void Dispose()
    {
        try
        {
            TryFinishParameters();
        }
        finally
        {
            Unhook();
            gradients.Dispose();
        }
    }

    /// <summary>Ends what is under way before a disposal. An error is thrown again by later reads of the parameters, not here, where it could replace the first one.</summary>
    private void TryFinishParameters()
    {
        try
        {
            if (distribution.IsUnderWay && !device.IsDisposed)
                FinishParameters();
        }
        catch (Exception e) when (Parameter.IsFailedArrival(e))
        {
        }
    }

    private void Unhook()
    {
        if (communicator.Unfinished == finish)
            communicator.Unfinished = null;
        device.Disposing -= beforeDisposal;
    }

    private void Await(Parameter parameter)
    {
        long began = Stopwatch.GetTimestamp();
        distribution.Finish(parameter);
        Waited += Stopwatch.GetElapsedTime(began);
        parameter.Arrival = null;
    }

    private void Finish(ExchangePipeline pipeline)
    {
        long began = Stopwatch.GetTimestamp();
        pipeline.Finish();
        Waited += Stopwatch.GetElapsedTime(began);
    }

    /// <summary>Gradients in the type in which they are added; received ones are added.</summary>
    private sealed class GradientValues : IExchangedValues, IDisposable
    {
        private readonly Gradients gradients;
        private readonly GradientSum sum;
        private readonly Device device;
        private readonly Block incoming;
        private readonly Block? outgoing;

        public GradientValues(Gradients gradients, GradientSum sum, IReadOnlyList<Parameter> trained)
        {
            (this.gradients, this.sum, device) = (gradients, sum, gradients.Device);
            long length = Math.Min(MessageBytes / sum.Type.Bytes(1, 1), trained.Max(parameter => parameter.Length));
            incoming = device.Pool.RentPersistent(1, length, sum.Type);
            outgoing = sum.Type == DType.F32 ? null : device.Pool.RentPersistent(1, length, sum.Type);
        }

        public bool Has(Parameter parameter) => gradients.Has(parameter);

        public long BytesOf(Parameter parameter) => sum.Type.Bytes(1, parameter.Length);

        public void Load(Parameter parameter, long start, Span<byte> bytes)
        {
            Block gradient = Part(parameter, start, bytes.Length);
            if (outgoing is { } memory)
            {
                Block narrow = memory.Slice(0, gradient.Length);
                device.Copy(gradient, narrow);
                gradient = narrow;
            }

            device.DownloadBytes(gradient, bytes.Length, bytes);
        }

        /// <summary>Addition commutes, so both ranks of a pair would get the same bits.</summary>
        public void Store(Parameter parameter, long start, ReadOnlySpan<byte> bytes)
        {
            Block gradient = Part(parameter, start, bytes.Length), received = incoming.Slice(0, gradient.Length);
            device.UploadBytes(bytes, received);
            sum.Add(gradient, received);
        }

        public void Dispose()
        {
            device.Pool.Return(incoming);
            if (outgoing is { } memory)
                device.Pool.Return(memory);
        }

        private Block Part(Parameter parameter, long start, int bytes)
        {
            long size = sum.Type.Bytes(1, 1);
            return gradients[parameter].Slice(start / size, bytes / size);
        }
    }

    /// <summary>Parameters as they are stored.</summary>
    private sealed class ParameterValues : IExchangedValues
    {
        private readonly HashSet<Parameter> updated = [];

        public void Add(Parameter parameter) => updated.Add(parameter);

        public void Clear() => updated.Clear();

        public bool Has(Parameter parameter) => updated.Contains(parameter);

        public long BytesOf(Parameter parameter) => parameter.Bytes;

        public void Load(Parameter parameter, long start, Span<byte> bytes) => Bytes(parameter).Download(start, bytes);

        public void Store(Parameter parameter, long start, ReadOnlySpan<byte> bytes) => Bytes(parameter).Upload(start, bytes);

        /// <summary>The bytes without waiting for their arrival, which is this.</summary>
        private static StoredBytes Bytes(Parameter parameter) => new(parameter.Memory, parameter.Bytes);
    }
}
