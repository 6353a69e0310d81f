using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Distributed;

/// <summary>A rank of a communicator failed, ended, or did not answer in time.</summary>
/// <param name="message">Which one, and what to do.</param>
/// <param name="inner">The cause.</param>
public sealed class CommunicationException(string message, Exception? inner = null) : UserException(message, inner);

/// <summary>
/// Connects the ranks of one program: processes of MPI, or threads. All ranks call the same collective operations in the same order. Collectives are
/// built on <see cref="Exchange"/>, so results and the number of bytes do not depend on the transport.
/// </summary>
/// <remarks>One thread at a time may use a communicator. A trainer leaves updated parameters under way between steps; whatever is exchanged next waits until they have arrived.</remarks>
public abstract class Communicator : IDisposable
{
    /// <summary>The number of this rank, from 0.</summary>
    public abstract int Rank { get; }

    /// <summary>The number of ranks.</summary>
    public abstract int Size { get; }

    /// <summary>The number of this rank among those of the same machine, from 0.</summary>
    public virtual int LocalRank => Rank;

    /// <summary>The number of ranks on this machine.</summary>
    public virtual int LocalSize => Size;

    /// <summary>The bytes that this rank has sent.</summary>
    public long BytesSent { get; private set; }

    /// <summary>
    /// Ends exchanges that were left under way, and removes itself; null without any. Runs before any other exchange begins, so that messages between two ranks have the same
    /// order on both, wherever each of them has waited for some.
    /// </summary>
    internal Action? Unfinished { get; set; }

    /// <summary>The peers with which an exchange is under way.</summary>
    private bool[] Started => field ??= new bool[Size];

    /// <summary>Sends bytes to another rank and receives bytes from it at the same time. The other rank calls this with the lengths exchanged.</summary>
    /// <param name="peer">The other rank.</param>
    /// <param name="sent">The bytes to send; may be empty.</param>
    /// <param name="received">Filled with the bytes of the peer; may be empty.</param>
    /// <exception cref="CommunicationException">The peer failed or did not answer in time.</exception>
    public void Exchange(int peer, ReadOnlySpan<byte> sent, Span<byte> received)
    {
        Unfinished?.Invoke();
        CheckPeer(peer);
        BytesSent += sent.Length;
        if (sent.Length > 0 || received.Length > 0)
            ExchangeCore(peer, sent, received);
    }

    /// <summary>Implements <see cref="Exchange"/>; at least one of the two is not empty.</summary>
    protected abstract void ExchangeCore(int peer, ReadOnlySpan<byte> sent, Span<byte> received);

    /// <summary>
    /// Begins an exchange as <see cref="Exchange"/> and returns; it goes on until <see cref="IsDone"/>. Only one exchange with a peer may be under way, so those
    /// with one peer are made in the order in which they begin.
    /// </summary>
    /// <param name="peer">The other rank.</param>
    /// <param name="sent">The bytes to send, which must not change before the exchange is done; may be empty.</param>
    /// <param name="received">Filled with the bytes of the peer; may be empty.</param>
    /// <exception cref="InvalidOperationException">An exchange with the peer is under way.</exception>
    /// <exception cref="CommunicationException">The peer failed or did not answer in time.</exception>
    public void Start(int peer, ReadOnlyMemory<byte> sent, Memory<byte> received)
    {
        Unfinished?.Invoke();
        StartNext(peer, sent, received);
    }

    /// <summary>As <see cref="Start"/>, for a message of the exchanges that <see cref="Unfinished"/> ends.</summary>
    internal void StartNext(int peer, ReadOnlyMemory<byte> sent, Memory<byte> received)
    {
        CheckPeer(peer);
        BytesSent += sent.Length;
        if (sent.Length == 0 && received.Length == 0)
            return;
        StartCore(peer, sent, received);
        Started[peer] = true;
    }

    /// <summary>True once the exchange that <see cref="Start"/> began is complete. Never waits; communication may need these calls to go on.</summary>
    /// <param name="peer">The other rank.</param>
    /// <exception cref="CommunicationException">The peer failed or did not answer in time.</exception>
    public bool IsDone(int peer)
    {
        if (Started[peer] && IsDoneCore(peer))
            Started[peer] = false;
        return !Started[peer];
    }

    /// <summary>Implements <see cref="Start"/>. A communicator that does not override it exchanges the bytes before it returns.</summary>
    protected virtual void StartCore(int peer, ReadOnlyMemory<byte> sent, Memory<byte> received) => ExchangeCore(peer, sent.Span, received.Span);

    /// <summary>Implements <see cref="IsDone"/>.</summary>
    protected virtual bool IsDoneCore(int peer) => true;

    private void CheckPeer(int peer)
    {
        if (peer == Rank || (uint)peer >= (uint)Size)
            throw new ArgumentOutOfRangeException(nameof(peer), $"rank {Rank} of {Size} cannot exchange data with rank {peer}");
        if (Started[peer])
            throw new InvalidOperationException($"an exchange of rank {Rank} with rank {peer} is under way; wait until it is done");
    }

    /// <summary>Ends every rank: calls of other ranks that wait fail, or their processes end. For a rank that cannot go on.</summary>
    /// <param name="reason">One line for people.</param>
    public abstract void Abort(string reason);

    /// <summary>Gives every rank the values of rank 0, along a binomial tree.</summary>
    public void Broadcast<T>(Span<T> values) where T : unmanaged
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(values);
        int mask = 1;
        while (mask < Size && (Rank & mask) == 0)
            mask <<= 1;
        if (Rank != 0)
            Exchange(Rank - mask, [], bytes);
        for (mask >>= 1; mask > 0; mask >>= 1)
        {
            if (Rank + mask < Size)
                Exchange(Rank + mask, bytes, []);
        }
    }

    /// <summary>Gives every rank the text of rank 0; null stays null.</summary>
    public string? Broadcast(string? text)
    {
        byte[] bytes = text is null ? [] : Encoding.UTF8.GetBytes(text);
        Span<int> length = [text is null ? -1 : bytes.Length];
        Broadcast(length);
        if (length[0] < 0)
            return null;
        if (Rank != 0)
            bytes = new byte[length[0]];
        Broadcast(bytes.AsSpan());
        return Encoding.UTF8.GetString(bytes);
    }

    /// <summary>Completes values of which each rank has some: gathers them at rank 0, then broadcasts them.</summary>
    /// <param name="values">As many values on each rank. Those of other ranks are overwritten.</param>
    /// <param name="rankOf">The rank that has the value of an index.</param>
    public void Share<T>(Span<T> values, Func<int, int> rankOf) where T : unmanaged
    {
        if (Size == 1)
            return;
        if (BitOperations.IsPow2(Size))
        {
            // At each level, pairs of groups exchange all values that they have, those of others being undefined.
            byte[] buffer = ArrayPool<byte>.Shared.Rent(MemoryMarshal.AsBytes(values).Length);
            Span<T> received = MemoryMarshal.Cast<byte, T>(buffer.AsSpan())[..values.Length];
            for (int distance = 1; distance < Size; distance <<= 1)
            {
                int peer = Rank ^ distance;
                Exchange(peer, MemoryMarshal.AsBytes(values), MemoryMarshal.AsBytes(received));
                for (int i = 0; i < values.Length; i++)
                {
                    if ((rankOf(i) ^ peer) < distance)
                        values[i] = received[i];
                }
            }

            ArrayPool<byte>.Shared.Return(buffer);
            return;
        }

        Gather(values, rankOf);
        Broadcast(values);
    }

    private void Gather<T>(Span<T> values, Func<int, int> rankOf) where T : unmanaged
    {
        if (Rank != 0)
        {
            Exchange(0, MemoryMarshal.AsBytes(values), []);
            return;
        }

        var received = new T[values.Length];
        for (int rank = 1; rank < Size; rank++)
        {
            Exchange(rank, [], MemoryMarshal.AsBytes(received.AsSpan()));
            for (int i = 0; i < values.Length; i++)
            {
                if (rankOf(i) == rank)
                    values[i] = received[i];
            }
        }
    }

    /// <summary>The texts of all ranks, in their order, on every rank.</summary>
    public IReadOnlyList<string?> Share(string? text)
    {
        byte[] own = text is null ? [] : Encoding.UTF8.GetBytes(text);
        var lengths = new int[Size];
        lengths[Rank] = text is null ? -1 : own.Length;
        Share(lengths.AsSpan(), rank => rank);
        int[] starts = new int[Size];
        for (int rank = 1; rank < Size; rank++)
            starts[rank] = starts[rank - 1] + Math.Max(0, lengths[rank - 1]);
        var all = new byte[starts[^1] + Math.Max(0, lengths[^1])];
        own.CopyTo(all, starts[Rank]);
        Share(all.AsSpan(), i => Array.FindLastIndex(starts, start => start <= i));
        return [.. lengths.Select((length, rank) => length < 0 ? null : Encoding.UTF8.GetString(all, starts[rank], length))];
    }

    /// <summary>True on every rank if the condition holds on one of them.</summary>
    public bool Any(bool condition)
    {
        var flags = new byte[Size];
        flags[Rank] = condition ? (byte)1 : (byte)0;
        Share(flags.AsSpan(), rank => rank);
        return flags.Contains((byte)1);
    }

    /// <summary>Waits for every rank.</summary>
    public void Barrier() => Any(false);

    /// <summary>Waits for updated parameters that a trainer has left under way, and ends the communication of this rank. Throws nothing if the exchange fails.</summary>
    public void Dispose()
    {
        try
        {
            Unfinished?.Invoke();
        }
        catch (Exception e) when (Parameter.IsFailedArrival(e))
        {
            // Disposal often follows an error, which this one must not replace. Later reads of the parameters throw it again.
        }
        finally
        {
            Dispose(true);
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>Ends the communication of this rank.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}
