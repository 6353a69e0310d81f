using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// Persistent threads that share the items of a loop. Items are claimed one by one from an atomic counter, so that a
/// core that is slowed down by something else takes fewer of them; results must therefore not depend on who runs what.
/// The caller works too, as worker 0.
/// </summary>
/// <remarks>
/// A loop is over when its items are done, not when every thread has seen it: a thread that is still waking up is
/// locked out by closing the gate. <c>gate</c> counts the threads inside; its sign bit says closed. A thread enters by
/// adding one, and withdraws when the sum is negative; the caller closes by flipping the sign bit and waits for zero.
/// </remarks>
internal sealed unsafe class WorkerPool : IDisposable
{
    /// <summary>How long an idle worker watches for the next loop before it sleeps.</summary>
    private static readonly long SpinTicks = Stopwatch.Frequency / 2_000;

    /// <summary>How long it does so without offering its core to others.</summary>
    private static readonly long YieldTicks = Stopwatch.Frequency / 50_000;

    private const int Closed = int.MinValue;

    [ThreadStatic]
    private static WorkerPool? currentPool;

    [ThreadStatic]
    private static int currentWorker;

    private readonly Thread[] threads;
    private readonly Lock callers = new();
    private readonly object bell = new();
    private readonly long spinTicks;
    private Shared shared;
    private delegate*<WorkerPool, void*, int, int, void> drain;
    private void* body;
    private int count;
    private Exception? failure;
    private volatile bool disposed;

    /// <summary>Starts <paramref name="threads"/> - 1 threads.</summary>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        Threads = threads;
        shared.Gate = Closed;

        // Watching is worth a core only when there is a core to spare.
        spinTicks = threads <= Environment.ProcessorCount ? SpinTicks : 0;
        this.threads = new Thread[threads - 1];
        for (int i = 0; i < this.threads.Length; i++)
        {
            int worker = i + 1;
            this.threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"ILGpuOptim worker {worker}" };
            this.threads[i].Start();
        }
    }

    /// <summary>The number of workers, the caller among them.</summary>
    public int Threads { get; }

    /// <summary>
    /// Does items 0 to <paramref name="count"/> - 1 and returns when all are done. From within an item it runs in place.
    /// When an item throws, items not yet begun are skipped and the first exception is thrown here.
    /// </summary>
    public void Run<T>(int count, ref T body) where T : struct, IWork
    {
        if (count <= 1 || Threads == 1 || currentPool == this)
        {
            int worker = currentPool == this ? currentWorker : 0;
            for (int i = 0; i < count; i++)
                body.Invoke(i, worker);
            return;
        }

        lock (callers)
            RunShared(count, ref body);
    }

    private void RunShared<T>(int count, ref T body) where T : struct, IWork
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        T local = body; // on the stack, where the collector does not move it
        this.body = Unsafe.AsPointer(ref local);
        this.count = count;
        drain = &Drain<T>;
        shared.Next = 0;
        Interlocked.Add(ref shared.Gate, Closed); // opens
        Interlocked.Increment(ref shared.Loop);
        if (Volatile.Read(ref shared.Sleepers) > 0)
            Ring(count - 1);

        (WorkerPool? outerPool, int outerWorker) = (currentPool, currentWorker);
        (currentPool, currentWorker) = (this, 0);
        Drain<T>(this, this.body, count, 0);
        (currentPool, currentWorker) = (outerPool, outerWorker);

        if (Interlocked.Add(ref shared.Gate, Closed) != Closed)
            AwaitEmpty();
        body = local;
        if (failure is not null)
            Rethrow();
    }

    private static void Drain<T>(WorkerPool pool, void* body, int count, int worker) where T : struct, IWork
    {
        ref T work = ref Unsafe.AsRef<T>(body);
        try
        {
            int item;
            while ((item = Interlocked.Increment(ref pool.shared.Next) - 1) < count)
                work.Invoke(item, worker);
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref pool.failure, exception, null);
            Interlocked.Exchange(ref pool.shared.Next, count);
        }
    }

    private void AwaitEmpty()
    {
        for (int i = 0; i < 1000; i++)
        {
            if (Volatile.Read(ref shared.Gate) == Closed)
                return;
            Thread.SpinWait(1);
        }

        SpinWait spin = default;
        while (Volatile.Read(ref shared.Gate) != Closed)
            spin.SpinOnce(sleep1Threshold: -1);
    }

    private void Rethrow()
    {
        Exception first = failure!;
        failure = null;
        ExceptionDispatchInfo.Throw(first);
    }

    private void Ring(int wanted)
    {
        lock (bell)
        {
            if (wanted >= shared.Sleepers)
                Monitor.PulseAll(bell);
            else
                for (int i = 0; i < wanted; i++)
                    Monitor.Pulse(bell);
        }
    }

    private void Work(int worker)
    {
        (currentPool, currentWorker) = (this, worker);
        int seen = 0;
        while (true)
        {
            seen = AwaitLoop(seen);
            if (disposed)
                return;
            if (Interlocked.Increment(ref shared.Gate) > 0)
                drain(this, body, count, worker);
            Interlocked.Decrement(ref shared.Gate);
        }
    }

    /// <summary>Watches, then sleeps, until the number of the loop is no longer <paramref name="seen"/>.</summary>
    private int AwaitLoop(int seen)
    {
        int loop;
        long start = Stopwatch.GetTimestamp(), waited = 0;
        do
        {
            // Should the caller wait for this very core, it gets it.
            if (waited > YieldTicks)
                Thread.Yield();
            for (int i = 0; i < 32; i++)
            {
                if ((loop = Volatile.Read(ref shared.Loop)) != seen)
                    return loop;
                Thread.SpinWait(1);
            }
        }
        while ((waited = Stopwatch.GetTimestamp() - start) < spinTicks);

        lock (bell)
        {
            // The caller counts the loop and then looks for sleepers; the order here is the reverse, so one sees the other.
            Interlocked.Increment(ref shared.Sleepers);
            while ((loop = Volatile.Read(ref shared.Loop)) == seen)
                Monitor.Wait(bell);
            Interlocked.Decrement(ref shared.Sleepers);
        }

        return loop;
    }

    /// <summary>Ends the threads. No loop may be running.</summary>
    public void Dispose()
    {
        lock (callers)
        {
            if (disposed)
                return;
            disposed = true;
            Interlocked.Increment(ref shared.Loop);
            Ring(int.MaxValue);
        }

        foreach (Thread thread in threads)
            thread.Join();
    }

    /// <summary>What several threads write, each on cache lines of its own (two lines, as processors fetch them in pairs).</summary>
    [StructLayout(LayoutKind.Explicit, Size = 640)]
    private struct Shared
    {
        [FieldOffset(128)]
        public int Next;

        [FieldOffset(256)]
        public int Gate;

        [FieldOffset(384)]
        public int Loop;

        [FieldOffset(512)]
        public int Sleepers;
    }
}
