using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace ILGpuOptim.Distributed;

/// <summary>Ranks that are threads of this process: for several devices of one machine, and for tests.</summary>
public sealed class ThreadCommunicator : Communicator
{
    private readonly Group group;

    private ThreadCommunicator(Group group, int rank) => (this.group, Rank) = (group, rank);

    /// <inheritdoc/>
    public override int Rank { get; }

    /// <inheritdoc/>
    public override int Size => group.Size;

    /// <summary>Creates the communicators of a number of ranks, one for each thread.</summary>
    /// <param name="size">The number of ranks.</param>
    /// <param name="timeout">How long a rank waits for another; ten minutes by default.</param>
    public static IReadOnlyList<ThreadCommunicator> Create(int size, TimeSpan? timeout = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        var group = new Group(size, timeout ?? TimeSpan.FromMinutes(10));
        return [.. Enumerable.Range(0, size).Select(rank => new ThreadCommunicator(group, rank))];
    }

    /// <summary>
    /// Runs an action on a thread for each rank, and waits for all. If one throws, it aborts the others, and the first exception is thrown.
    /// </summary>
    /// <param name="size">The number of ranks.</param>
    /// <param name="action">What each rank does.</param>
    /// <param name="timeout">How long a rank waits for another; ten minutes by default.</param>
    public static void Run(int size, Action<Communicator> action, TimeSpan? timeout = null)
    {
        ExceptionDispatchInfo? first = null;
        Thread[] threads = [.. Create(size, timeout).Select(rank => new Thread(() =>
        {
            try
            {
                action(rank);
            }
#pragma warning disable CA1031 // Every exception of a rank ends the others and is thrown to the caller.
            catch (Exception e)
#pragma warning restore CA1031
            {
                Interlocked.CompareExchange(ref first, ExceptionDispatchInfo.Capture(e), null);
                rank.Abort(e.Message);
            }
        }))];
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            thread.Join();
        first?.Throw();
    }

    /// <inheritdoc/>
    protected override void ExchangeCore(int peer, ReadOnlySpan<byte> sent, Span<byte> received)
    {
        if (sent.Length > 0)
            group.Box(Rank, peer).Add(sent.ToArray());
        if (received.Length == 0)
            return;
        byte[]? bytes;
        try
        {
            if (!group.Box(peer, Rank).TryTake(out bytes, (int)group.Timeout.TotalMilliseconds, group.Aborted.Token))
                throw new CommunicationException($"rank {peer} did not answer rank {Rank} within {group.Timeout.TotalSeconds:N0} seconds");
        }
        catch (OperationCanceledException)
        {
            throw new CommunicationException(group.Reason!);
        }

        if (bytes.Length != received.Length)
            throw new InvalidOperationException($"rank {Rank} expects {received.Length} bytes, but rank {peer} sends {bytes.Length}: the ranks call different operations");
        bytes.CopyTo(received);
    }

    /// <inheritdoc/>
    public override void Abort(string reason)
    {
        Interlocked.CompareExchange(ref group.Reason, $"rank {Rank} failed: {reason}", null);
        group.Aborted.Cancel();
    }

    /// <summary>What the ranks have in common: a queue for each pair of ranks and direction.</summary>
    private sealed class Group(int size, TimeSpan timeout)
    {
        private readonly BlockingCollection<byte[]>[] boxes = [.. Enumerable.Range(0, size * size).Select(_ => new BlockingCollection<byte[]>())];

        public string? Reason;

        public int Size => size;

        public TimeSpan Timeout => timeout;

        public CancellationTokenSource Aborted { get; } = new();

        public BlockingCollection<byte[]> Box(int from, int to) => boxes[(from * size) + to];
    }
}
