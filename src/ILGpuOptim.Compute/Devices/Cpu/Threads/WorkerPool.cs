using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// Persistent threads that share the items of a loop. Each has a range of consecutive items, so that it reads sequentially and, in
/// the next loop of the same shape, finds its part in its cache. It claims its items one by one, then
/// those of others, so that a slow core does fewer. Results must therefore not depend
/// on which thread runs an item. The caller works too, as worker 0.
/// </summary>
/// <remarks>
/// A range is counted in a word on cache lines of its own: the number of the loop in the upper bits, the items claimed in the lower. So it
/// needs no reset, and claiming is cheap while no other thread claims there.
///
/// A loop ends when its items are done, not when every thread has seen it: a thread that is still waking up is excluded by
/// closing the gate, a word with the number of the loop in the upper bits, the number of threads inside in the lower bits, and a bit between them for
/// closed. A thread enters by incrementing an open gate. The caller opens it by writing the next number, closes it by setting the bit, and waits
/// for the count to reach zero. The loop's data lies beside the gate, in the same cache lines.
/// </remarks>
internal sealed unsafe class WorkerPool : IDisposable
{
    /// <summary>The time for which an idle worker polls for the next loop before it sleeps.</summary>
    private static readonly long SpinTicks = Stopwatch.Frequency / 2_000;

    /// <summary>The part of that time for which it polls without yielding its core.</summary>
    private static readonly long YieldTicks = Stopwatch.Frequency / 50_000;

    private const long Closed = 1L << 31;

    /// <summary>Two cache lines, as processors fetch them in pairs.</summary>
    private const int LineBytes = 128;

    [ThreadStatic]
    private static WorkerPool? currentPool;

    [ThreadStatic]
    private static int currentWorker;

    private readonly Thread[] threads;
    private readonly Lock callers = new();
    private readonly object bell = new();
    private readonly long spinTicks;
    private readonly Shared* shared;
    private readonly long* claimed;
    private Exception? failure;
    private volatile bool disposed;

    /// <summary>Starts <paramref name="threads"/> - 1 threads.</summary>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        Threads = threads;
        nuint bytes = (nuint)(sizeof(Shared) + threads * LineBytes);
        shared = (Shared*)NativeMemory.AlignedAlloc(bytes, LineBytes);
        NativeMemory.Clear(shared, bytes);
        claimed = (long*)(shared + 1);
        shared->Gate = Closed;

        // Spinning is worthwhile only with a spare core.
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
    /// Runs items 0 to <paramref name="count"/> - 1 and returns when all are done. A nested call runs them on the calling thread.
    /// When an item throws, items not yet begun are skipped and the first exception is thrown here.
    /// </summary>
    /// <param name="count">The number of items.</param>
    /// <param name="body">Runs one of them.</param>
    /// <param name="backwards">Each thread begins with its last item: the one that the loop before, over the same data, has left in the caches.</param>
    public void Run<T>(int count, ref T body, bool backwards = false) where T : struct, IWork
    {
        if (count <= 1 || Threads == 1 || currentPool == this)
        {
            int worker = currentPool == this ? currentWorker : 0;
            for (int i = 0; i < count; i++)
                body.Invoke(backwards ? count - 1 - i : i, worker);
            return;
        }

        lock (callers)
            RunShared(count, ref body, backwards);
    }

    private void RunShared<T>(int count, ref T body, bool backwards) where T : struct, IWork
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        T local = body; // on the stack, where the collector does not move it
        uint number = (uint)(shared->Gate >>> 32) + 1;
        shared->Body = Unsafe.AsPointer(ref local);
        shared->Count = count;
        shared->Backwards = backwards;
        shared->Drain = &Drain<T>;
        Open(number);
        if (Volatile.Read(ref shared->Sleepers) > 0)
            Ring(count - 1);

        (WorkerPool? outerPool, int outerWorker) = (currentPool, currentWorker);
        (currentPool, currentWorker) = (this, 0);
        Drain<T>(this, number, 0);
        (currentPool, currentWorker) = (outerPool, outerWorker);

        if ((int)Interlocked.Or(ref shared->Gate, Closed) != 0)
            AwaitEmpty();
        body = local;
        if (failure is not null)
            Rethrow();
    }

    /// <summary>No other thread writes the gate while no loop runs. The exchange also orders this write before the check for sleeping workers.</summary>
    private void Open(uint number) => Interlocked.Exchange(ref shared->Gate, (long)number << 32);

    private static void Drain<T>(WorkerPool pool, uint number, int worker) where T : struct, IWork
    {
        ref T work = ref Unsafe.AsRef<T>(pool.shared->Body);
        int count = pool.shared->Count;
        try
        {
            for (int i = 0; i < pool.Threads; i++)
            {
                int owner = worker + i < pool.Threads ? worker + i : worker + i - pool.Threads, item;
                while ((item = pool.Claim(owner, number, count)) >= 0)
                    work.Invoke(item, worker);
            }
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref pool.failure, exception, null);
        }
    }

    /// <summary>The next item of a worker's stretch, or -1 when none is left, or something went wrong.</summary>
    private int Claim(int owner, uint number, int count)
    {
        int first = (int)((long)count * owner / Threads), items = (int)((long)count * (owner + 1) / Threads) - first;
        ref long word = ref claimed[owner * (LineBytes / sizeof(long))];
        while (items > 0 && Volatile.Read(ref failure) is null)
        {
            long before = Volatile.Read(ref word);
            int done = (uint)(before >>> 32) == number ? (int)before : 0;
            if (done >= items)
                break;
            if (Interlocked.CompareExchange(ref word, ((long)number << 32) | (uint)(done + 1), before) == before)
                return shared->Backwards ? first + items - 1 - done : first + done;
        }

        return -1;
    }

    private void AwaitEmpty()
    {
        for (int i = 0; i < 1000; i++)
        {
            if ((uint)Volatile.Read(ref shared->Gate) == Closed)
                return;
            Thread.SpinWait(1);
        }

        SpinWait spin = default;
        while ((uint)Volatile.Read(ref shared->Gate) != Closed)
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
            if (wanted >= shared->Sleepers)
                Monitor.PulseAll(bell);
            else
                for (int i = 0; i < wanted; i++)
                    Monitor.Pulse(bell);
        }
    }

    private void Work(int worker)
    {
        (currentPool, currentWorker) = (this, worker);
        uint seen = 0;
        while (true)
        {
            seen = AwaitLoop(seen);
            if (disposed)
                return;
            if (!Enter(out uint number))
                continue;
            seen = number;
            shared->Drain(this, number, worker);
            Interlocked.Decrement(ref shared->Gate);
        }
    }

    private bool Enter(out uint number)
    {
        while (true)
        {
            long gate = Volatile.Read(ref shared->Gate);
            number = (uint)(gate >>> 32);
            if ((gate & Closed) != 0)
                return false;
            if (Interlocked.CompareExchange(ref shared->Gate, gate + 1, gate) == gate)
                return true;
        }
    }

    private uint Number => (uint)(Volatile.Read(ref shared->Gate) >>> 32);

    /// <summary>Watches, then sleeps, until the number of the loop is no longer <paramref name="seen"/>.</summary>
    private uint AwaitLoop(uint seen)
    {
        uint loop;
        long start = Stopwatch.GetTimestamp(), waited = 0;
        do
        {
            // Yields this core if the caller waits for it.
            if (waited > YieldTicks)
                Thread.Yield();
            for (int i = 0; i < 32; i++)
            {
                if ((loop = Number) != seen)
                    return loop;
                Thread.SpinWait(1);
            }
        }
        while ((waited = Stopwatch.GetTimestamp() - start) < spinTicks);

        lock (bell)
        {
            // The caller opens the gate and then looks for sleepers; the order here is the reverse, so one sees the other.
            Interlocked.Increment(ref shared->Sleepers);
            while ((loop = Number) == seen)
                Monitor.Wait(bell);
            Interlocked.Decrement(ref shared->Sleepers);
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
            Interlocked.Add(ref shared->Gate, 1L << 32); // the next number, and still closed
            Ring(int.MaxValue);
        }

        foreach (Thread thread in threads)
            thread.Join();
        NativeMemory.AlignedFree(shared);
    }

    /// <summary>Shared state: the loop, and on other cache lines the number of sleeping threads.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 2 * LineBytes)]
    private struct Shared
    {
        [FieldOffset(0)]
        public long Gate;

        [FieldOffset(8)]
        public delegate*<WorkerPool, uint, int, void> Drain;

        [FieldOffset(16)]
        public void* Body;

        [FieldOffset(24)]
        public int Count;

        [FieldOffset(28)]
        public bool Backwards;

        [FieldOffset(LineBytes)]
        public int Sleepers;
    }
}
