using ILGpuOptim.Distributed;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>A communicator whose exchanges in the background take a number of looks to arrive, and can be made to fail.</summary>
/// <param name="ranks">What carries the bytes.</param>
/// <param name="looks">The number of looks at each message for which it has not arrived.</param>
internal sealed class SlowCommunicator(Communicator ranks, Func<int> looks) : Communicator
{
    private readonly int[] left = new int[ranks.Size];

    /// <summary>The error of every exchange in the background that begins or is looked at; null without one.</summary>
    public Exception? Failure { get; set; }

    /// <summary>True once the communicator has ended.</summary>
    public bool IsEnded { get; private set; }

    public override int Rank => ranks.Rank;

    public override int Size => ranks.Size;

    public override void Abort(string reason) => ranks.Abort(reason);

    protected override void ExchangeCore(int peer, ReadOnlySpan<byte> sent, Span<byte> received) => ranks.Exchange(peer, sent, received);

    protected override void StartCore(int peer, ReadOnlyMemory<byte> sent, Memory<byte> received)
    {
        Fail();
        ranks.Start(peer, sent, received);
        left[peer] = looks();
    }

    protected override bool IsDoneCore(int peer)
    {
        Fail();
        return left[peer]-- <= 0 && ranks.IsDone(peer);
    }

    protected override void Dispose(bool disposing) => IsEnded = true;

    private void Fail()
    {
        if (Failure is not null)
            throw Failure;
    }
}
