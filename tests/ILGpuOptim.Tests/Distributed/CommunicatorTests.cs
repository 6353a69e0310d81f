using ILGpuOptim.Distributed;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>Collective operations for any number of ranks, and how a failed rank ends the others.</summary>
public class CommunicatorTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(8)]
    public void CollectivesReachEveryRank(int size) => ThreadCommunicator.Run(size, ranks =>
    {
        int[] values = [.. Enumerable.Range(0, 13).Select(i => i % size == ranks.Rank ? i * i : -1)];
        ranks.Share(values.AsSpan(), i => i % size);
        Assert.Equal(Enumerable.Range(0, 13).Select(i => i * i), values);
        double[] sent = ranks.Rank == 0 ? [1, 2, 3] : new double[3];
        ranks.Broadcast(sent.AsSpan());
        Assert.Equal([1, 2, 3], sent);
        Assert.Equal("Größe", ranks.Broadcast(ranks.Rank == 0 ? "Größe" : "other"));
        Assert.Null(ranks.Broadcast(ranks.Rank == 0 ? null : "other"));
        string?[] texts = [.. Enumerable.Range(0, size).Select(rank => rank % 3 == 1 ? null : new string('ä', rank))];
        Assert.Equal(texts, ranks.Share(texts[ranks.Rank]));
        Assert.True(ranks.Any(ranks.Rank == size - 1));
        Assert.False(ranks.Any(false));
    });

    /// <summary>Each rank exchanges data with all others at the same time, in as many messages, which may be larger on one side.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void ExchangesAreUnderWayAtTheSameTime(int size) => ThreadCommunicator.Run(size, ranks =>
    {
        int[] peers = [.. Enumerable.Range(0, size).Where(rank => rank != ranks.Rank)];
        byte[][] received = [.. peers.Select(peer => new byte[1000 * (peer + 1)])];
        for (int message = 0; message < 3; message++)
        {
            byte[] sent = [.. Enumerable.Repeat((byte)(10 * ranks.Rank + message), 1000 * (ranks.Rank + 1))];
            foreach ((int i, int peer) in peers.Index())
            {
                ranks.Start(peer, sent, received[i]);
                Assert.Contains("under way", Assert.Throws<InvalidOperationException>(() => ranks.Start(peer, sent, received[i])).Message, StringComparison.Ordinal);
            }

            foreach ((int i, int peer) in peers.Index())
            {
                while (!ranks.IsDone(peer))
                    Thread.Yield();
                Assert.All(received[i], value => Assert.Equal(10 * peer + message, value));
            }
        }

        Assert.Equal(3 * 1000L * (ranks.Rank + 1) * (size - 1), ranks.BytesSent);
    });

    [Fact]
    public void AStartedExchangeThatTheOtherRankDoesNotMakeEnds()
    {
        Assert.StartsWith("rank 1 did not answer rank 0", Assert.Throws<CommunicationException>(() => ThreadCommunicator.Run(2, Start, TimeSpan.FromMilliseconds(50))).Message, StringComparison.Ordinal);
        Assert.Equal("no number", Assert.Throws<FormatException>(() => ThreadCommunicator.Run(2, ranks =>
        {
            if (ranks.Rank == 1)
                throw new FormatException("no number");
            Assert.Equal("rank 1 failed: no number", Assert.Throws<CommunicationException>(() => Start(ranks)).Message);
        })).Message);

        static void Start(Communicator ranks)
        {
            if (ranks.Rank != 0)
                return;
            ranks.Start(1, new byte[1], new byte[1]);
            while (!ranks.IsDone(1))
                Thread.Yield();
        }
    }

    /// <summary>Ranks that are busy for longer than the timeout do not wait meanwhile.</summary>
    [Fact]
    public void TimeBetweenLooksIsNotWaited() => ThreadCommunicator.Run(2, ranks =>
    {
        if (ranks.Rank == 1)
            Thread.Sleep(1500);
        ranks.Start(1 - ranks.Rank, new byte[1], new byte[1]);
        if (ranks.Rank == 0)
            Thread.Sleep(1200);
        while (!ranks.IsDone(1 - ranks.Rank))
            Thread.Yield();
    }, TimeSpan.FromMilliseconds(1000));

    [Fact]
    public void AFailedRankEndsTheOthers()
    {
        string[] ends = new string[3];
        var error = Assert.Throws<FormatException>(() => ThreadCommunicator.Run(3, ranks =>
        {
            if (ranks.Rank == 1)
                throw new FormatException("no number");
            ends[ranks.Rank] = Assert.Throws<CommunicationException>(() => ranks.Barrier()).Message;
        }));
        Assert.Equal("no number", error.Message);
        Assert.Equal(["rank 1 failed: no number", null, "rank 1 failed: no number"], ends);
    }

    [Fact]
    public void ARankThatDoesNotAnswerIsNamed()
    {
        var error = Assert.Throws<CommunicationException>(() => ThreadCommunicator.Run(2, ranks =>
        {
            if (ranks.Rank == 0)
                ranks.Barrier();
        }, TimeSpan.FromMilliseconds(50)));
        Assert.StartsWith("rank 1 did not answer rank 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RanksThatCallDifferentOperationsAreNamed() => Assert.Contains("different operations", Assert.Throws<InvalidOperationException>(() => ThreadCommunicator.Run(2, ranks =>
        ranks.Share(new int[ranks.Rank + 1].AsSpan(), i => i))).Message, StringComparison.Ordinal);
}
