using System.Buffers;
using System.Diagnostics;
using System.Runtime.ExceptionServices;

namespace ILGpuOptim.Distributed;

/// <summary>Ranks that are threads of this process: for several devices of one machine, and for tests.</summary>
public sealed class ThreadCommunicator : Communicator
{
    private readonly Group group;

    /// <summary>Of each rank with which an exchange was started: the memory to fill, and the time waited.</summary>
    private readonly (Memory<byte> Received, WaitingTime Time)[] awaited;

    private ThreadCommunicator(Group group, int rank) => (this.group, Rank, awaited) = (group, rank, new (Memory<byte>, WaitingTime)[group.Size]);

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
            group.Box(Rank, peer).Add(sent);
        if (received.Length == 0)
            return;
        long began = Stopwatch.GetTimestamp();
        while (!TryReceive(peer, received, group.Timeout - Stopwatch.GetElapsedTime(began)))
            CheckTime(peer, Stopwatch.GetElapsedTime(began));
    }

    /// <inheritdoc/>
    protected override void StartCore(int peer, ReadOnlyMemory<byte> sent, Memory<byte> received)
    {
        if (sent.Length > 0)
            group.Box(Rank, peer).Add(sent.Span);
        awaited[peer] = (received, WaitingTime.Begin());
    }

    /// <inheritdoc/>
    protected override bool IsDoneCore(int peer)
    {
        Memory<byte> received = awaited[peer].Received;
        if (received.Length == 0 || TryReceive(peer, received.Span, TimeSpan.Zero))
            return true;
        CheckTime(peer, awaited[peer].Time.Look());
        return false;
    }

    private void CheckTime(int peer, TimeSpan waited)
    {
        if (waited >= group.Timeout)
            throw new CommunicationException($"rank {peer} did not answer rank {Rank} within {group.Timeout.TotalSeconds:N0} seconds");
    }

    private bool TryReceive(int peer, Span<byte> received, TimeSpan timeout)
    {
        if (!group.Box(peer, Rank).TryTake(timeout, out byte[] bytes, out int length))
            return group.Reason is { } reason ? throw new CommunicationException(reason) : false;
        if (length != received.Length)
            throw new InvalidOperationException($"rank {Rank} expects {received.Length} bytes, but rank {peer} sends {length}: the ranks call different operations");
        bytes.AsSpan(0, length).CopyTo(received);
        ArrayPool<byte>.Shared.Return(bytes);
        return true;
    }

    /// <inheritdoc/>
    public override void Abort(string reason) => group.Abort($"rank {Rank} failed: {reason}");

    /// <summary>What the ranks have in common: a queue for each pair of ranks and direction.</summary>
    private sealed class Group
    {
        private readonly Box[] boxes;
        private volatile string? reason;

        public Group(int size, TimeSpan timeout)
        {
            (Size, Timeout) = (size, timeout);
            boxes = [.. Enumerable.Range(0, size * size).Select(_ => new Box(this))];
        }

        public string? Reason => reason;

        public int Size { get; }

        public TimeSpan Timeout { get; }

        public Box Box(int from, int to) => boxes[(from * Size) + to];

        public void Abort(string why)
        {
            Interlocked.CompareExchange(ref reason, why, null);
            foreach (Box box in boxes)
                box.Wake();
        }
    }

    /// <summary>The bytes that one rank has sent to another and that were not received yet, in arrays that are used again.</summary>
    private sealed class Box(Group group)
    {
        private readonly Queue<(byte[] Bytes, int Length)> sent = [];

        public void Add(ReadOnlySpan<byte> bytes)
        {
            byte[] copy = ArrayPool<byte>.Shared.Rent(bytes.Length);
            bytes.CopyTo(copy);
            lock (sent)
            {
                sent.Enqueue((copy, bytes.Length));
                Monitor.Pulse(sent);
            }
        }

        /// <summary>Takes the oldest bytes; false if there are none in time, or the group was aborted.</summary>
        public bool TryTake(TimeSpan timeout, out byte[] bytes, out int length)
        {
            (bytes, length) = ([], 0);
            lock (sent)
            {
                if (sent.Count == 0 && group.Reason is null && timeout > TimeSpan.Zero)
                    Monitor.Wait(sent, timeout);
                if (group.Reason is not null || !sent.TryDequeue(out (byte[] Bytes, int Length) first))
                    return false;
                (bytes, length) = first;
                return true;
            }
        }

        public void Wake()
        {
            lock (sent)
                Monitor.PulseAll(sent);
        }
    }
}
