using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// A fixed set of threads that run parallel loops. The caller takes part; idle workers spin for a moment, then sleep.
/// Items are claimed one by one, so a slow core takes fewer; what an item computes must not depend on who runs it.
/// </summary>
internal sealed unsafe class WorkerPool : IDisposable
{
    /// <summary>How long an idle worker spins before it sleeps: longer than the gaps between the launches of a training step.</summary>
    private static readonly long SpinTicks = Stopwatch.Frequency / 10_000;

    private readonly SemaphoreSlim wake = new(0);
    private readonly Thread[] workers;
    private long state;      // launch number in the upper half, unclaimed items in the lower
    private int unfinished;  // items not yet done
    private int sleeping;
    private int count;
    private void* body;
    private delegate*<void*, int, int, void> invoke;
    private Exception? failure;
    private bool running;
    private volatile bool stopped;

    /// <param name="threads">Threads that compute, the caller among them; at least one.</param>
    public WorkerPool(int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        Threads = threads;
        workers = new Thread[threads - 1];
        for (int i = 0; i < workers.Length; i++)
        {
            int worker = i + 1;
            workers[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"ilgpuoptim {worker}" };
            workers[i].Start();
        }
    }

    /// <summary>How many threads compute, the caller among them.</summary>
    public int Threads { get; }

    /// <summary>
    /// Runs items 0 to <paramref name="items"/> - 1 and returns when all are done. <paramref name="work"/> must be a
    /// local variable of the caller. A loop inside a loop runs on its own thread alone.
    /// </summary>
    public void Run<T>(int items, ref T work) where T : struct, IWork
    {
        if (items <= 1 || workers.Length == 0 || running)
        {
            for (int i = 0; i < items; i++)
                work.Invoke(i, 0);
            return;
        }

        running = true;
        body = Unsafe.AsPointer(ref work);
        invoke = &Invoke<T>;
        count = items;
        failure = null;
        Volatile.Write(ref unfinished, items);
        long launch = (state >> 32) + 1;
        Interlocked.Exchange(ref state, launch << 32 | (uint)items);
        int asleep = Volatile.Read(ref sleeping);
        if (asleep > 0)
            wake.Release(Math.Min(asleep, items - 1));
        while (TryClaim(out int item))
            Do(item, 0);
        SpinWait spin = default;
        while (Volatile.Read(ref unfinished) > 0)
        {
            if (spin.Count < 9)
                spin.SpinOnce(-1);
            else
                Thread.SpinWait(8);
            if (spin.NextSpinWillYield && Environment.ProcessorCount < Threads)
                Thread.Yield();
        }

        running = false;
        if (failure is { } error)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(error);
    }

    private static void Invoke<T>(void* body, int item, int worker) where T : struct, IWork =>
        Unsafe.AsRef<T>(body).Invoke(item, worker);

    private bool TryClaim(out int item)
    {
        long seen = Volatile.Read(ref state);
        while ((int)seen > 0)
        {
            // While an unclaimed item is left the launch cannot end, so its count is the one read here
            // if the exchange succeeds.
            item = count - (int)seen;
            long old = Interlocked.CompareExchange(ref state, seen - 1, seen);
            if (old == seen)
                return true;
            seen = old;
        }

        item = 0;
        return false;
    }

    private void Do(int item, int worker)
    {
        try
        {
            invoke(body, item, worker);
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref failure, e, null);
        }

        Interlocked.Decrement(ref unfinished);
    }

    private void Work(int worker)
    {
        while (!stopped)
        {
            while (TryClaim(out int item))
                Do(item, worker);
            long start = Stopwatch.GetTimestamp();
            while ((int)Volatile.Read(ref state) <= 0 && !stopped && Stopwatch.GetTimestamp() - start < SpinTicks)
                Thread.SpinWait(4);
            if ((int)Volatile.Read(ref state) > 0 || stopped)
                continue;
            Interlocked.Increment(ref sleeping);
            if ((int)Volatile.Read(ref state) <= 0 && !stopped)
                wake.Wait();
            Interlocked.Decrement(ref sleeping);
        }
    }

    public void Dispose()
    {
        stopped = true;
        if (workers.Length > 0)
            wake.Release(workers.Length);
        foreach (Thread thread in workers)
            thread.Join();
        wake.Dispose();
    }
}
