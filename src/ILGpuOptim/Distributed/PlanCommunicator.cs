namespace ILGpuOptim.Distributed;

/// <summary>A rank without others, for plans of its memory: nothing is sent, and what it receives is zero.</summary>
/// <param name="rank">The rank.</param>
/// <param name="size">The number of ranks.</param>
internal sealed class PlanCommunicator(int rank, int size) : Communicator
{
    /// <inheritdoc/>
    public override int Rank => rank;

    /// <inheritdoc/>
    public override int Size => size;

    /// <inheritdoc/>
    protected override void ExchangeCore(int peer, ReadOnlySpan<byte> sent, Span<byte> received) => received.Clear();

    /// <inheritdoc/>
    public override void Abort(string reason)
    {
    }
}
