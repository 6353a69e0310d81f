namespace ILGpuOptim.Distributed;

/// <summary>Values of parameters that ranks exchange: which there are, and how they become the bytes of messages.</summary>
internal interface IExchangedValues
{
    /// <summary>True if the parameter has values in this step; the same on every rank.</summary>
    bool Has(Parameter parameter);

    /// <summary>The number of bytes of a parameter's values; even.</summary>
    long BytesOf(Parameter parameter);

    /// <summary>Copies a range of the bytes from the device.</summary>
    void Load(Parameter parameter, long start, Span<byte> bytes);

    /// <summary>Takes a range of the bytes that another rank has sent.</summary>
    void Store(Parameter parameter, long start, ReadOnlySpan<byte> bytes);
}

/// <summary>
/// Moves values of parameters through the levels of a binary tree over the ranks: at level k, ranks that differ in bit k exchange them. Parameters are
/// grouped in buckets, which begin in a fixed order as soon as their values are ready; a bucket enters a level when it has left the one before. Exchanges
/// at different levels are under way at the same time, and go on in each call of <see cref="Advance"/>, between which the device computes.
/// </summary>
internal sealed class ExchangePipeline
{
    private readonly ExchangeLevel[] levels;
    private readonly IExchangedValues values;
    private readonly Bucket[] buckets;
    private readonly Dictionary<Parameter, int> bucketOf = [];
    private readonly HashSet<Parameter> completed = [];
    private readonly int[] missing, done;
    private readonly bool[] isBusy;
    private int begun;
    private bool hasFailed;

    /// <summary>Groups parameters in buckets.</summary>
    /// <param name="levels">The levels, those of the tree's leaves first for sums.</param>
    /// <param name="values">What is exchanged.</param>
    /// <param name="parameters">The parameters, in the order in which their values become ready.</param>
    /// <param name="bucketBytes">A bucket is full with so many bytes.</param>
    /// <param name="isSent">Whether a parameter is sent at a level.</param>
    /// <param name="isReceived">Whether a parameter is received at a level.</param>
    public ExchangePipeline(
        ExchangeLevel[] levels, IExchangedValues values, IReadOnlyList<Parameter> parameters, long bucketBytes, Func<Parameter, int, bool> isSent, Func<Parameter, int, bool> isReceived)
    {
        (this.levels, this.values) = (levels, values);
        var all = new List<Bucket>();
        var members = new List<Parameter>();
        long bytes = 0;
        foreach (Parameter parameter in parameters)
        {
            members.Add(parameter);
            bucketOf.Add(parameter, all.Count);
            bytes += values.BytesOf(parameter);
            if (bytes >= bucketBytes)
                Close();
        }

        if (members.Count > 0)
            Close();
        buckets = [.. all];
        missing = [.. buckets.Select(bucket => bucket.Count)];
        (done, isBusy) = (new int[levels.Length], new bool[levels.Length]);

        void Close()
        {
            all.Add(new Bucket(members.Count, [.. Levels(isSent)], [.. Levels(isReceived)]));
            members.Clear();
            bytes = 0;
        }

        IEnumerable<Parameter[]> Levels(Func<Parameter, int, bool> condition) =>
            levels.Select((_, level) => members.Where(parameter => parameter.Length > 0 && condition(parameter, level)).ToArray());
    }

    /// <summary>True if no exchange was begun since the last <see cref="Finish()"/>.</summary>
    public bool IsIdle => begun == 0 && completed.Count == 0;

    /// <summary>True if all exchanges were begun and none has failed; until <see cref="Finish()"/>.</summary>
    public bool IsUnderWay => begun == buckets.Length && !hasFailed;

    /// <summary>The number of buckets.</summary>
    public int Count => buckets.Length;

    /// <summary>The number of buckets that have left the last level since the last <see cref="Finish()"/>.</summary>
    public int DoneCount => levels.Length > 0 ? done[^1] : begun;

    /// <summary>True if <see cref="Complete"/> was called for a parameter since the last <see cref="Finish()"/>.</summary>
    public bool IsComplete(Parameter parameter) => completed.Contains(parameter);

    /// <summary>Tells that the values of a parameter will not change any more, and begins what can begin.</summary>
    public void Complete(Parameter parameter)
    {
        completed.Add(parameter);
        missing[bucketOf[parameter]]--;
        while (begun < buckets.Length && missing[begun] == 0)
            BeginNext();
        Advance();
    }

    /// <summary>Lets exchanges go on; never waits.</summary>
    /// <exception cref="InvalidOperationException">An exchange failed before.</exception>
    public void Advance()
    {
        if (hasFailed)
            throw Failed();
        hasFailed = true;
        for (bool moves = true; moves;)
        {
            moves = false;
            for (int level = 0; level < levels.Length; level++)
            {
                if (!isBusy[level])
                {
                    int ready = level == 0 ? begun : done[level - 1];
                    if (done[level] == ready)
                        continue;
                    Bucket bucket = buckets[done[level]];
                    levels[level].Begin(values, bucket.Sent[level], bucket.Received[level]);
                    isBusy[level] = true;
                }

                if (!levels[level].Advance())
                    continue;
                isBusy[level] = false;
                done[level]++;
                moves = true;
            }
        }

        hasFailed = false;
    }

    /// <summary>Begins what is left.</summary>
    public void Begin()
    {
        // One by one: with a communicator that waits in each exchange, all ranks then make the exchanges in the same order.
        while (begun < buckets.Length)
            BeginNext();
    }

    /// <summary>Exchanges what is left, and waits until all is done.</summary>
    public void Finish()
    {
        Begin();
        Wait(buckets.Length);
        begun = 0;
        completed.Clear();
        Array.Clear(done);
        for (int i = 0; i < buckets.Length; i++)
            missing[i] = buckets[i].Count;
    }

    /// <summary>Waits until the exchange of a parameter is done, after <see cref="Begin"/>.</summary>
    public void Finish(Parameter parameter) => Wait(bucketOf[parameter] + 1);

    private void Wait(int count)
    {
        var spin = new SpinWait();
        while (levels.Length > 0 && done[^1] < count)
        {
            Advance();
            spin.SpinOnce(sleep1Threshold: 1000);
        }
    }

    /// <summary>The error of whatever follows an exchange that failed, of which other ranks have a part of the data.</summary>
    public static InvalidOperationException Failed() =>
        new("an exchange of gradients or parameters with other ranks failed before; end all ranks, and continue from the last checkpoint");

    /// <summary>Exchanges the values of one parameter, which has a bucket of its own, and waits. For every rank in the same order.</summary>
    public void Exchange(Parameter parameter)
    {
        // If an exchange fails, the pipeline is not idle any more.
        begun = 1;
        Bucket bucket = buckets[bucketOf[parameter]];
        for (int level = 0; level < levels.Length; level++)
        {
            levels[level].Begin(values, bucket.Sent[level], bucket.Received[level]);
            var spin = new SpinWait();
            while (!levels[level].Advance())
                spin.SpinOnce(sleep1Threshold: 1000);
        }

        begun = 0;
    }

    private void BeginNext()
    {
        begun++;
        Advance();
    }

    /// <summary>Parameters that go through the tree together, and those of them that are sent and received at each level.</summary>
    private sealed record Bucket(int Count, Parameter[][] Sent, Parameter[][] Received);
}

/// <summary>Exchanges values with one peer, in messages of which one is under way at a time.</summary>
/// <param name="communicator">The ranks.</param>
/// <param name="peer">The other rank.</param>
/// <param name="messageBytes">The most bytes of a message; a multiple of 4.</param>
internal sealed class ExchangeLevel(Communicator communicator, int peer, int messageBytes)
{
    private readonly byte[] sending = GC.AllocateUninitializedArray<byte>(messageBytes, pinned: true), receiving = GC.AllocateUninitializedArray<byte>(messageBytes, pinned: true);
    private IExchangedValues? values;
    private Position from, to;
    private int awaited;
    private bool isUnderWay;

    /// <summary>Begins with the values of some parameters. The peer receives what is sent here, and sends what is received here.</summary>
    public void Begin(IExchangedValues exchanged, Parameter[] sent, Parameter[] received) =>
        (values, from, to) = (exchanged, new Position(exchanged, sent), new Position(exchanged, received));

    /// <summary>Goes on without waiting; true once all values were exchanged.</summary>
    public bool Advance()
    {
        while (true)
        {
            if (isUnderWay)
            {
                if (!communicator.IsDone(peer))
                    return false;
                isUnderWay = false;
                for (int moved = 0; moved < awaited;)
                {
                    int count = to.Next(awaited - moved, out Parameter parameter, out long start);
                    values!.Store(parameter, start, receiving.AsSpan(moved, count));
                    moved += count;
                }
            }

            if (from.Left == 0 && to.Left == 0)
                return true;
            int send = (int)Math.Min(messageBytes, from.Left);
            awaited = (int)Math.Min(messageBytes, to.Left);
            for (int moved = 0; moved < send;)
            {
                int count = from.Next(send - moved, out Parameter parameter, out long start);
                values!.Load(parameter, start, sending.AsSpan(moved, count));
                moved += count;
            }

            communicator.StartNext(peer, sending.AsMemory(0, send), receiving.AsMemory(0, awaited));
            isUnderWay = true;
        }
    }

    /// <summary>A position in the bytes of several parameters, read as one sequence.</summary>
    private struct Position
    {
        private readonly IExchangedValues values;
        private readonly Parameter[] parameters;
        private int index;
        private long start;

        public Position(IExchangedValues values, Parameter[] parameters)
        {
            (this.values, this.parameters) = (values, parameters);
            foreach (Parameter parameter in parameters)
                Left += CountOf(parameter);
        }

        /// <summary>The bytes after the position.</summary>
        public long Left { get; private set; }

        /// <summary>Takes the next bytes, at most <paramref name="most"/>, of one parameter.</summary>
        public int Next(int most, out Parameter parameter, out long first)
        {
            while (start == CountOf(parameters[index]))
                (index, start) = (index + 1, 0);
            (parameter, first) = (parameters[index], start);
            int count = (int)Math.Min(most, CountOf(parameter) - start);
            (start, Left) = (start + count, Left - count);
            return count;
        }

        private readonly long CountOf(Parameter parameter) => values.Has(parameter) ? values.BytesOf(parameter) : 0;
    }
}
