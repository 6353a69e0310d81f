using ILGpuOptim.Compute.Cpu;
using Xunit;

namespace ILGpuOptim.Tests.Cpu;

public sealed class WorkerPoolTests
{
    public static TheoryData<int, int> Shapes
    {
        get
        {
            TheoryData<int, int> data = [];
            foreach (int threads in new[] { 1, 2, 3, 8 })
                foreach (int count in new[] { 0, 1, 2, 7, 33, 4097 })
                    data.Add(threads, count);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void EveryItemRunsOnceByAKnownWorker(int threads, int count)
    {
        using WorkerPool pool = new(threads);
        int[] visits = new int[count];
        bool[] strangers = new bool[1];
        CountVisits work = new(visits, strangers, threads);
        for (int round = 1; round <= 20; round++)
        {
            pool.Run(count, ref work, backwards: round % 2 == 0);
            Assert.All(visits, v => Assert.Equal(round, v));
        }

        Assert.False(strangers[0]);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    public void ALoopRunsBackwards(int threads, bool backwards)
    {
        using WorkerPool pool = new(threads);
        int[] first = [.. Enumerable.Repeat(-1, threads)];
        using Barrier barrier = new(threads);
        NoteFirst work = new(first, barrier);
        pool.Run(10 * threads, ref work, backwards);
        Assert.Equal(Enumerable.Range(0, threads).Select(worker => 10 * worker + (backwards ? 9 : 0)), first);
    }

    [Fact]
    public void AWorkerRunsOneItemAtATime()
    {
        using WorkerPool pool = new(4);
        int[] busy = new int[4];
        bool[] overlap = new bool[1];
        DetectOverlap work = new(busy, overlap);
        for (int round = 0; round < 200; round++)
            pool.Run(50, ref work);
        Assert.False(overlap[0]);
    }

    [Fact]
    public void ManyShortLoopsInARowAreAllComplete()
    {
        using WorkerPool pool = new(3);
        long[] total = new long[1];
        AddUp work = new(total);
        for (int round = 0; round < 20_000; round++)
            pool.Run(3, ref work);
        Assert.Equal(20_000L * (0 + 1 + 2), total[0]);
    }

    [Fact]
    public void SleepingWorkersWakeUp()
    {
        using WorkerPool pool = new(2);
        for (int round = 0; round < 10; round++)
        {
            Thread.Sleep(5); // longer than workers watch
            using Barrier barrier = new(2);
            Meet work = new(barrier);
            pool.Run(2, ref work); // returns only when two workers take part
        }
    }

    [Fact]
    public void ExceptionsReachTheCallerAndThePoolLivesOn()
    {
        using WorkerPool pool = new(3);
        ThrowAt work = new(17);
        for (int round = 0; round < 50; round++)
        {
            InvalidOperationException e = Assert.Throws<InvalidOperationException>(() => pool.Run(100, ref work));
            Assert.Equal("item 17", e.Message);
        }

        int[] visits = new int[100];
        CountVisits after = new(visits, new bool[1], 3);
        pool.Run(100, ref after);
        Assert.All(visits, v => Assert.Equal(1, v));
    }

    [Fact]
    public void NestedLoopsRunInPlaceWithTheSameWorker()
    {
        using WorkerPool pool = new(3);
        int[] visits = new int[40 * 10];
        bool[] moved = new bool[1];
        Nest work = new(pool, visits, moved);
        pool.Run(40, ref work);
        Assert.All(visits, v => Assert.Equal(1, v));
        Assert.False(moved[0]);
    }

    [Fact]
    public void LoopsOfSeveralThreadsTakeTurns()
    {
        using WorkerPool pool = new(2);
        int[] busy = new int[2];
        bool[] overlap = new bool[1];
        Thread[] callers = [.. Enumerable.Range(0, 3).Select(_ => new Thread(() =>
        {
            DetectOverlap work = new(busy, overlap);
            for (int round = 0; round < 200; round++)
                pool.Run(20, ref work);
        }))];
        foreach (Thread caller in callers)
            caller.Start();
        foreach (Thread caller in callers)
            caller.Join();
        Assert.False(overlap[0]);
    }

    [Fact]
    public void RunningALoopAllocatesNothing()
    {
        using WorkerPool pool = new(2);
        long[] total = new long[1];
        AddUp work = new(total);
        pool.Run(100, ref work);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < 100; round++)
            pool.Run(100, ref work);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void TheBodySurvivesCollectionsAndKeepsItsChanges()
    {
        using WorkerPool pool = new(2);
        Holder holder = new(); // the body lies in an object that the collector moves
        for (int round = 0; round < 20; round++)
        {
            object[] garbage = [.. Enumerable.Range(0, 1000).Select(i => new byte[i])];
            pool.Run(64, ref holder.Body);
            GC.KeepAlive(garbage);
        }

        Assert.Equal(20 * 64, holder.Body.Sum);
    }

    [Fact]
    public void ADisposedPoolRefuses()
    {
        WorkerPool pool = new(2);
        pool.Dispose();
        pool.Dispose();
        AddUp work = new(new long[1]);
        Assert.Throws<ObjectDisposedException>(() => pool.Run(5, ref work));
    }

    /// <summary>Keeps each worker's first item, and lets none go on before all have begun.</summary>
    private readonly struct NoteFirst(int[] first, Barrier barrier) : IWork
    {
        public void Invoke(int index, int worker)
        {
            if (first[worker] >= 0)
                return;
            first[worker] = index;
            barrier.SignalAndWait();
        }
    }

    private readonly struct CountVisits(int[] visits, bool[] strangers, int threads) : IWork
    {
        public void Invoke(int index, int worker)
        {
            Interlocked.Increment(ref visits[index]);
            if ((uint)worker >= (uint)threads)
                strangers[0] = true;
        }
    }

    private readonly struct DetectOverlap(int[] busy, bool[] overlap) : IWork
    {
        public void Invoke(int index, int worker)
        {
            if (Interlocked.Increment(ref busy[worker]) != 1)
                overlap[0] = true;
            Thread.SpinWait(5);
            Interlocked.Decrement(ref busy[worker]);
        }
    }

    private readonly struct AddUp(long[] total) : IWork
    {
        public void Invoke(int index, int worker) => Interlocked.Add(ref total[0], index);
    }

    private readonly struct Meet(Barrier barrier) : IWork
    {
        public void Invoke(int index, int worker) => Assert.True(barrier.SignalAndWait(TimeSpan.FromSeconds(30)));
    }

    private readonly struct ThrowAt(int item) : IWork
    {
        public void Invoke(int index, int worker)
        {
            if (index == item)
                throw new InvalidOperationException($"item {index}");
        }
    }

    private readonly struct Nest(WorkerPool pool, int[] visits, bool[] moved) : IWork
    {
        public void Invoke(int index, int worker)
        {
            Inner inner = new(visits, moved, index, worker);
            pool.Run(10, ref inner);
        }

        private readonly struct Inner(int[] visits, bool[] moved, int outer, int outerWorker) : IWork
        {
            public void Invoke(int index, int worker)
            {
                Interlocked.Increment(ref visits[outer * 10 + index]);
                if (worker != outerWorker)
                    moved[0] = true;
            }
        }
    }

    private sealed class Holder
    {
        public Collect Body;
    }

    private struct Collect : IWork
    {
        public int Sum;

        public void Invoke(int index, int worker)
        {
            Interlocked.Increment(ref Sum);
            if (index % 16 == 0)
                GC.Collect(0);
        }
    }
}
