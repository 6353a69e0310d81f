using System.Buffers;

namespace ILGpuOptim.Distributed;

/// <summary>
/// Ranks that are processes of MPI, started by <c>mpirun</c> or <c>srun</c>. The library is found when the program runs: one with the ABI of MPI 5, MPICH or
/// Open MPI. A process may open one communicator.
/// </summary>
public sealed class MpiCommunicator : Communicator
{
    private const int AbortCode = 1;

    private static int opened;

    private readonly MpiLibrary library;
    private readonly TimeSpan timeout;
    private readonly Transfer[] transfers;
    private bool isFinished;

    private MpiCommunicator(MpiLibrary library, TimeSpan timeout)
    {
        (this.library, this.timeout) = (library, timeout);
        (Rank, Size) = (library.Rank, library.Size);
        Library = library.Version;
        transfers = new Transfer[Size];
    }

    /// <inheritdoc/>
    public override int Rank { get; }

    /// <inheritdoc/>
    public override int Size { get; }

    /// <inheritdoc/>
    public override int LocalRank => localRank;

    /// <inheritdoc/>
    public override int LocalSize => localSize;

    private int localRank, localSize = 1;

    /// <summary>The MPI library in its own words.</summary>
    public string Library { get; }

    /// <summary>Joins the processes that the launcher has started; without a launcher, there is one rank.</summary>
    /// <param name="timeout">How long a rank waits for another; ten minutes by default.</param>
    /// <exception cref="CommunicationException">There is no MPI library, or it does not belong to the launcher.</exception>
    /// <exception cref="InvalidOperationException">The process has opened one already.</exception>
    public static MpiCommunicator Open(TimeSpan? timeout = null)
    {
        MpiLibrary library = MpiLibrary.Load();
        if (Interlocked.Exchange(ref opened, 1) != 0)
            throw new InvalidOperationException("a process can open one communicator of MPI");
        library.Start();
        var ranks = new MpiCommunicator(library, timeout ?? TimeSpan.FromMinutes(10));
        if (ranks.Size == 1 && Launcher.Several is { } launched)
        {
            library.Finish();
            throw new CommunicationException($"{launched.Variable} says that {launched.Size} processes were started, but {ranks.Library} sees this one alone: the launcher belongs to another MPI; use its mpirun, or name the launcher's library in {MpiLibrary.PathVariable}");
        }

        IReadOnlyList<string?> hosts = ranks.Share(Environment.MachineName);
        ranks.localSize = hosts.Count(host => host == hosts[ranks.Rank]);
        ranks.localRank = hosts.Take(ranks.Rank).Count(host => host == hosts[ranks.Rank]);
        return ranks;
    }

    /// <inheritdoc/>
    protected override unsafe void ExchangeCore(int peer, ReadOnlySpan<byte> sent, Span<byte> received)
    {
        fixed (byte* from = sent, to = received)
        {
            Transfer transfer = Begin(peer, from, sent.Length, to, received.Length);
            var spin = new SpinWait();

            // Gives the core to other ranks of the machine.
            while (!IsDone(peer, ref transfer))
                spin.SpinOnce(sleep1Threshold: 1000);
        }
    }

    /// <inheritdoc/>
    protected override unsafe void StartCore(int peer, ReadOnlyMemory<byte> sent, Memory<byte> received)
    {
        MemoryHandle from = sent.Pin(), to = received.Pin();
        transfers[peer] = Begin(peer, (byte*)from.Pointer, sent.Length, (byte*)to.Pointer, received.Length) with { Sent = from, Received = to };
    }

    /// <inheritdoc/>
    protected override bool IsDoneCore(int peer)
    {
        if (!IsDone(peer, ref transfers[peer]))
            return false;
        transfers[peer].Sent.Dispose();
        transfers[peer].Received.Dispose();
        return true;
    }

    private unsafe Transfer Begin(int peer, byte* sent, int sentCount, byte* received, int receivedCount) => new()
    {
        Receiving = receivedCount > 0 ? library.Receive(received, receivedCount, peer) : 0,
        Sending = sentCount > 0 ? library.Send(sent, sentCount, peer) : 0,
        HasReceived = receivedCount == 0,
        HasSent = sentCount == 0,
        Time = WaitingTime.Begin(),
    };

    private bool IsDone(int peer, ref Transfer transfer)
    {
        transfer.HasReceived = transfer.HasReceived || library.IsDone(ref transfer.Receiving);
        transfer.HasSent = transfer.HasSent || library.IsDone(ref transfer.Sending);
        if (transfer.HasReceived && transfer.HasSent)
            return true;
        if (transfer.Time.Look() < timeout)
            return false;

        // MPI still has the addresses of the buffers, so the process cannot go on.
        string reason = $"rank {peer} did not answer rank {Rank} within {timeout.TotalSeconds:N0} seconds; look for its error, or wait longer";
        // The program may have silenced Console.Error, as the tool does on all ranks but the first.
        using (var error = new StreamWriter(Console.OpenStandardError()))
            error.WriteLine($"error: {reason}");
        library.Abort(AbortCode);
        throw new CommunicationException(reason);
    }

    /// <summary>An exchange with another rank: its two requests, and the memory that MPI reads and writes meanwhile.</summary>
    private struct Transfer
    {
        public nint Receiving, Sending;
        public bool HasReceived, HasSent;
        public WaitingTime Time;
        public MemoryHandle Sent, Received;
    }

    /// <summary>Ends all processes, this one too.</summary>
    /// <param name="reason">One line for people, which the caller has printed.</param>
    public override void Abort(string reason)
    {
        if (!isFinished)
            library.Abort(AbortCode);
        isFinished = true;
    }

    /// <summary>Ends communication; waits for the other ranks.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !isFinished)
            library.Finish();
        isFinished = true;
    }
}
