using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Training;

/// <summary>
/// Moves gradients to the owners of their parameters, and updated parameters to all ranks. Gradients are summed along a fixed binary tree over the ranks:
/// at level k, ranks that differ in bit k exchange the sums of their subtrees, each keeping those whose owner agrees with it in the bits up to k
/// (recursive halving). Parameters go the same way back (recursive doubling).
/// </summary>
/// <remarks>In one step the ranks together send (ranks − 1) · (4 · trained elements + bytes of the trained parameters).</remarks>
internal sealed class ParameterExchange(Device device, Communicator communicator, Ownership ownership)
{
    /// <summary>The most bytes of one message.</summary>
    private const int MessageBytes = 4 << 20;

    private readonly byte[] sending = new byte[MessageBytes], receiving = new byte[MessageBytes];
    private readonly int rank = communicator.Rank;

    /// <summary>Sums the gradients of parameters over the ranks; the sum is in the gradient of the owner. Those of other ranks are undefined.</summary>
    /// <param name="gradients">The gradients of this rank.</param>
    /// <param name="parameters">The same parameters in the same order on every rank.</param>
    public void Reduce(Gradients gradients, IReadOnlyList<Parameter> parameters)
    {
        for (int bit = 1; bit < communicator.Size; bit <<= 1)
        {
            StoredBytes[] sent = [.. Where(parameters, difference => (difference & (bit - 1)) == 0 && (difference & bit) != 0).Select(parameter => StoredBytes.Of(gradients[parameter]))];
            StoredBytes[] summed = [.. Where(parameters, difference => (difference & ((bit << 1) - 1)) == 0).Select(parameter => StoredBytes.Of(gradients[parameter]))];
            Exchange(rank ^ bit, sent, summed, Add);
        }
    }

    /// <summary>Gives every rank the parameters of their owners, as they are stored.</summary>
    /// <param name="parameters">The same parameters in the same order on every rank.</param>
    public void Gather(IReadOnlyList<Parameter> parameters)
    {
        for (int bit = 1; bit < communicator.Size; bit <<= 1)
        {
            StoredBytes[] sent = [.. Where(parameters, difference => difference < bit).Select(StoredBytes.Of)];
            StoredBytes[] received = [.. Where(parameters, difference => (difference ^ bit) < bit).Select(StoredBytes.Of)];
            Exchange(rank ^ bit, sent, received, static (in target, start, bytes) => target.Upload(start, bytes));
        }
    }

    private IEnumerable<Parameter> Where(IEnumerable<Parameter> parameters, Func<int, bool> condition) =>
        parameters.Where(parameter => parameter.Length > 0 && condition(rank ^ ownership.Of(parameter)));

    private delegate void Receive(in StoredBytes target, long start, ReadOnlySpan<byte> bytes);

    private void Exchange(int peer, StoredBytes[] sent, StoredBytes[] received, Receive receive)
    {
        var from = new Position(sent);
        var to = new Position(received);
        while (from.Left > 0 || to.Left > 0)
        {
            int send = (int)Math.Min(MessageBytes, from.Left), take = (int)Math.Min(MessageBytes, to.Left);
            for (int done = 0; done < send;)
            {
                int count = from.Next(send - done, out StoredBytes block, out long start);
                block.Download(start, sending.AsSpan(done, count));
                done += count;
            }

            communicator.Exchange(peer, sending.AsSpan(0, send), receiving.AsSpan(0, take));
            for (int done = 0; done < take;)
            {
                int count = to.Next(take - done, out StoredBytes block, out long start);
                receive(block, start, receiving.AsSpan(done, count));
                done += count;
            }
        }
    }

    /// <summary>Adds received f32 values. Addition commutes, so both ranks of a pair would get the same bits.</summary>
    private void Add(in StoredBytes gradient, long start, ReadOnlySpan<byte> bytes)
    {
        int count = bytes.Length / sizeof(float);
        Block received = device.Pool.Rent(count);
        device.UploadBytes(bytes, received);
        device.Map(new AddRule(), 1, count, gradient.Block.Slice(start / sizeof(float), count), received);
        device.Pool.Return(received);
    }

    /// <summary>A position in the bytes of several blocks, read as one sequence.</summary>
    private struct Position(StoredBytes[] blocks)
    {
        private int index;
        private long start;

        /// <summary>The bytes after the position.</summary>
        public long Left { get; private set; } = blocks.Sum(block => block.Count);

        /// <summary>Takes the next bytes, at most <paramref name="most"/>, of one block.</summary>
        public int Next(int most, out StoredBytes block, out long first)
        {
            while (start == blocks[index].Count)
                (index, start) = (index + 1, 0);
            (block, first) = (blocks[index], start);
            int count = (int)Math.Min(most, block.Count - start);
            (start, Left) = (start + count, Left - count);
            return count;
        }
    }
}
