using System.Numerics;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>A strided copy as runs along its innermost axis. A piece is a number of whole runs, or part of one long run.</summary>
internal unsafe struct CpuStridedCopy : IWork
{
    private const int PieceLength = 1 << 15;

    private readonly StridedCopy copy;
    private readonly StridedAxis inner;
    private readonly float* source;
    private readonly float* target;

    /// <summary>Runs of the whole copy, and of one piece.</summary>
    private readonly long runs, runsOfPiece;

    /// <summary>Pieces of one run; 1 unless runs are long.</summary>
    private readonly long parts;

    public CpuStridedCopy(in StridedCopy copy, float* source, float* target)
    {
        this.copy = copy;
        this.source = source;
        this.target = target;
        inner = copy.Count == 0 ? new StridedAxis(1, 1, 1) : copy[copy.Count - 1];
        runs = copy.Length / inner.Size;
        runsOfPiece = Math.Max(1, PieceLength / inner.Size);
        parts = (inner.Size + PieceLength - 1) / PieceLength;
    }

    public readonly int Pieces => (int)((runs + runsOfPiece - 1) / runsOfPiece * parts);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void Invoke(int index, int worker)
    {
        long first = index / parts * runsOfPiece, end = Math.Min(runs, first + runsOfPiece), start = index % parts * PieceLength;
        int count = (int)Math.Min(PieceLength, inner.Size - start);
        long* places = stackalloc long[StridedCopy.MaxAxes];
        long from = start * inner.SourceStride, to = start * inner.TargetStride, rest = first;
        for (int k = copy.Count - 2; k >= 0; k--)
        {
            StridedAxis axis = copy[k];
            places[k] = rest % axis.Size;
            rest /= axis.Size;
            from += places[k] * axis.SourceStride;
            to += places[k] * axis.TargetStride;
        }

        for (long run = first; run < end; run++)
        {
            Run(source + from, target + to, count);
            for (int k = copy.Count - 2; k >= 0; k--)
            {
                StridedAxis axis = copy[k];
                from += axis.SourceStride;
                to += axis.TargetStride;
                if (++places[k] < axis.Size)
                    break;
                places[k] = 0;
                from -= axis.Size * axis.SourceStride;
                to -= axis.Size * axis.TargetStride;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Run(float* from, float* to, int count)
    {
        if (inner.TargetStride == 1 && inner.SourceStride == 1)
            Copy(from, to, count, copy.Accumulate);
        else if (inner.TargetStride == 1 && inner.SourceStride == 0)
            Repeat(*from, to, count, copy.Accumulate);
        else if (copy.Accumulate)
            AddOneByOne(from, inner.SourceStride, to, inner.TargetStride, count);
        else
            CopyOneByOne(from, inner.SourceStride, to, inner.TargetStride, count);
    }

    private static void Copy(float* from, float* to, int count, bool accumulate)
    {
        if (!accumulate)
        {
            new ReadOnlySpan<float>(from, count).CopyTo(new Span<float>(to, count));
            return;
        }

        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
            Vector.Store(Vector.Load(to + i) + Vector.Load(from + i), to + i);
        for (; i < count; i++)
            to[i] += from[i];
    }

    private static void Repeat(float value, float* to, int count, bool accumulate)
    {
        if (!accumulate)
        {
            new Span<float>(to, count).Fill(value);
            return;
        }

        for (int i = 0; i < count; i++)
            to[i] += value;
    }

    private static void CopyOneByOne(float* from, long step, float* to, long targetStep, int count)
    {
        for (int i = 0; i < count; i++, from += step, to += targetStep)
            *to = *from;
    }

    private static void AddOneByOne(float* from, long step, float* to, long targetStep, int count)
    {
        for (int i = 0; i < count; i++, from += step, to += targetStep)
            *to += *from;
    }
}
