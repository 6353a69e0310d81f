using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// What the warps of a GPU do to memory, by the index functions that the kernels themselves use, and what of it stands in the compiled kernels;
/// needs no GPU. Shared memory has 32 banks of four bytes; of accesses of 16 bytes, eight threads' are done at a time. Global memory
/// comes in sectors of 32 bytes.
/// </summary>
public class GpuAccessTests
{
    private const int Warp = 32, Banks = 32, SectorWords = 8;

    public static TheoryData<int, int> Tiles => new((128, 128), (128, 64), (64, 128), (64, 64));

    [Theory]
    [MemberData(nameof(Tiles))]
    public void ProductsReadStripsWithoutBankConflicts(int rows, int columns)
    {
        for (int k = 0; k < GpuGemmTiles.Depth; k++)
        {
            int a = k * GpuGemmTiles.PitchOf(rows), b = k * GpuGemmTiles.PitchOf(columns);
            foreach (int half in (int[])[0, 1])
            {
                VectorsHaveNoBankConflict(rows * columns / 64, thread => a + GpuGemmTiles.RowOf(thread, columns) + half * rows / 8);
                VectorsHaveNoBankConflict(rows * columns / 64, thread => b + GpuGemmTiles.ColumnOf(thread, columns) + half * columns / 8);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Tiles))]
    public void ThreadsShareTheResultsOfATile(int rows, int columns)
    {
        var places = Enumerable.Range(0, rows * columns / 64).Select(thread => (GpuGemmTiles.RowOf(thread, columns), GpuGemmTiles.ColumnOf(thread, columns))).ToHashSet();
        Assert.Equal(rows / 8 * (columns / 8), places.Count);
        Assert.All(places, place => Assert.True(place.Item1 < rows / 8 && place.Item2 < columns / 8));
    }

    [Theory]
    [InlineData(128, false)]
    [InlineData(128, true)]
    [InlineData(64, false)]
    [InlineData(64, true)]
    public void ProductsFillStripsWithoutBankConflictsFromWholeSectors(int rows, bool alongOuter)
    {
        int pitch = GpuGemmTiles.PitchOf(rows), vectors = rows * GpuGemmTiles.Depth / 4;
        int Word(int index) => GpuGemmOperand.StepOf(index, rows, alongOuter) * 4 * pitch + GpuGemmOperand.OuterOf(index, rows, alongOuter);
        if (alongOuter)
        {
            VectorsHaveNoBankConflict(vectors, index => Word(index) / 4);
        }
        else
        {
            for (int part = 0; part < 4; part++)
                WordsHaveNoBankConflict(vectors, index => Word(index) + part * 4 * pitch);
        }

        const int Stride = 3072;
        SectorsAreWhole(vectors, index => alongOuter
            ? GpuGemmOperand.StepOf(index, rows, true) * Stride + GpuGemmOperand.OuterOf(index, rows, true)
            : GpuGemmOperand.OuterOf(index, rows, false) * Stride + GpuGemmOperand.StepOf(index, rows, false));
    }

    [Theory]
    [MemberData(nameof(Tiles))]
    public void ProductsStoreWholeSectors(int rows, int columns)
    {
        const int Stride = 3072;
        SectorsAreWhole(rows * columns / 64, thread => GpuGemmTiles.RowOf(thread, columns) * 4 * Stride + GpuGemmTiles.ColumnOf(thread, columns) * 4);
    }

    /// <summary>Strips of products on tensor cores: each byte is copied once, in whole sectors, and neither copies nor reads of fragments meet a bank twice.</summary>
    [Theory]
    [MemberData(nameof(Tiles))]
    public void TensorProductsMeetNoBankTwice(int rows, int columns)
    {
        int threads = GpuGemmTensor.Threads(rows, columns);
        foreach (int bytes in (int[])[2, 4])
        {
            foreach (bool alongOuter in (bool[])[false, true])
            {
                foreach (bool isRight in (bool[])[false, true])
                    Check(bytes, alongOuter, isRight, isRight ? columns : rows);
            }
        }

        void Check(int bytes, bool alongOuter, bool isRight, int outer)
        {
            int units = outer * GpuGemmTensor.StripBytes / 16, further = GpuTensorOperand.RowsOfCopy(bytes, alongOuter, outer, threads);
            (int Row, int Unit) Of(int index) => (GpuTensorOperand.RowOf(index % threads, bytes, alongOuter, outer) + index / threads * further, GpuTensorOperand.UnitOf(index % threads, bytes, alongOuter, outer));
            int Place(int index) => GpuTensorOperand.PlaceOf(Of(index).Row, Of(index).Unit, bytes, alongOuter, outer);
            Assert.Equal(units, Enumerable.Range(0, units).Select(Place).Distinct().Count());
            Assert.All(Enumerable.Range(0, units), index => Assert.Equal(Place(index % threads) + index / threads * 16 * threads, Place(index)));
            VectorsHaveNoBankConflict(units, index => Place(index) / 16);
            SectorsAreWhole(units, index => Of(index).Row * 3072 + Of(index).Unit * 4);

            for (int first = 0; first < outer; first += isRight ? GpuGemmTensor.WarpColumns(rows, columns) : 64)
            {
                int Lane(int lane) => GpuTensorOperand.LaneOf(lane, bytes, isRight, alongOuter, outer, first);
                if (alongOuter && bytes == 4)
                    WordsHaveNoBankConflict(Warp, lane => Lane(lane) / 4);
                else
                    VectorsHaveNoBankConflict(Warp, lane => Lane(lane) / 16);
            }
        }
    }

    [Fact]
    public void AttentionMeetsNoBankTwice()
    {
        const int Threads = GpuAttentionTiles.Threads, Pitch = GpuAttentionTiles.Pitch, Stride = 2304;
        for (int step = 0; step < 8; step++)
        {
            VectorsHaveNoBankConflict(Threads, thread => step * Pitch + GpuAttentionTiles.RowOf(thread));
            VectorsHaveNoBankConflict(Threads, thread => step * Pitch + GpuAttentionTiles.ColumnOf(thread));
            VectorsHaveNoBankConflict(Threads, thread => step * GpuAttentionTiles.RowPitch + GpuAttentionTiles.ColumnOf(thread));
        }

        // Operands on their way in, turned; and a part put down as it is. (One that is turned meets each bank twice.)
        for (int part = 0; part < 4; part++)
        {
            WordsHaveNoBankConflict(Threads, thread => (4 * GpuAttentionTiles.VectorOfLoad(thread) + part) * 4 * Pitch + GpuAttentionTiles.RowOfLoad(thread));
            VectorsHaveNoBankConflict(Threads, thread => (4 * GpuAttentionTiles.RowOf(thread) + part) * Pitch + GpuAttentionTiles.ColumnOf(thread));
        }

        SectorsAreWhole(Threads, thread => GpuAttentionTiles.RowOfLoad(thread) * Stride + GpuAttentionTiles.VectorOfLoad(thread) * 4);
        SectorsAreWhole(Threads, thread => GpuAttentionTiles.RowOf(thread) * 4 * Stride + GpuAttentionTiles.ColumnOf(thread) * 4);
        Assert.Equal(Threads, Enumerable.Range(0, Threads).Select(thread => (GpuAttentionTiles.RowOf(thread), GpuAttentionTiles.ColumnOf(thread))).Distinct().Count());
        Assert.Equal(Threads, Enumerable.Range(0, Threads).Select(thread => (GpuAttentionTiles.RowOfLoad(thread), GpuAttentionTiles.VectorOfLoad(thread))).Distinct().Count());
    }

    /// <summary>Rows of heads on tensor cores: each unit has a place of its own, and neither copies nor reads of fragments meet a bank twice; both kernels of gradients fit.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void TensorAttentionMeetsNoBankTwice(int bytes)
    {
        for (int columns = 1; columns <= GpuAttentionTensor.MostColumns / 16; columns++)
        {
            int units = columns * bytes, size = columns;
            int Place(int index) => GpuTensorRows<GpuBf16Factor>.PlaceOf(index / units, index % units, bytes, size);
            Assert.Equal(64 * units, Enumerable.Range(0, 64 * units).Select(Place).Distinct().Count());
            VectorsHaveNoBankConflict(128, thread => GpuTensorRows<GpuBf16Factor>.PlaceOf(thread / 8, thread % 8, bytes, size) / 16);
            VectorsHaveNoBankConflict(Warp, lane => GpuTensorRows<GpuBf16Factor>.LeftOf(lane, bytes, size) / 16);
            VectorsHaveNoBankConflict(Warp, lane => GpuTensorRows<GpuBf16Factor>.RightOf(lane, bytes, size) / 16);
            WordsHaveNoBankConflict(Warp, lane => GpuTensorRows<GpuBf16Factor>.AcrossOf(lane, 4, size) / 4);
            Assert.InRange(GpuAttentionTensor.SharedBytes(bytes, columns), 0, 48 << 10);
        }
    }

    /// <summary>One tile represents all; the gate assembles the others.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void CompiledProductsAccessVectors(bool transposeA, bool transposeB)
    {
        string aligned = CompiledProduct(256, transposeA, transposeB);
        foreach (string access in (string[])["ld.global.v4.f32", "st.global.v4.f32", "ld.shared.v4.f32"])
            Assert.Contains(access, aligned, StringComparison.Ordinal);
        foreach (string access in (string[])["ld.global.f32", "st.global.f32", "ld.shared.f32", ".local", ".f64"])
            Assert.DoesNotContain(access, aligned, StringComparison.Ordinal);
    }

    [Fact]
    public void CompiledProductsOfOddSizesAccessWords() => Assert.DoesNotContain("global.v4", CompiledProduct(257, false, true), StringComparison.Ordinal);

    private static string CompiledProduct(int size, bool transposeA, bool transposeB)
    {
        using GpuDevice device = GpuDevice.Recorder();
        Block block = device.Pool.Rent(size * size);
        device.Plans.Forced = new GpuGemmPlan("64x64", 1);
        device.Gemm(new GemmArguments(block, block, block, size, size, size) { TransposeA = transposeA, TransposeB = transposeB });
        return Compile(Assert.Single(device.Recorded));
    }

    /// <summary>Every size of a head, with strips for devices with little shared memory and for others.</summary>
    [Theory]
    [InlineData(16, GpuLimits.SharedBytes)]
    [InlineData(32, 48 << 10)]
    public void AttentionNeedsWhatDevicesAreAskedFor(int depth, int shared)
    {
        using GpuDevice device = GpuDevice.Recorder();
        device.AttentionDepth = depth;
        Block block = device.Pool.Rent(64 * 256), sums = device.Pool.Rent(64);
        foreach (int size in (int[])[63, 64, 128, 256])
        {
            var attention = new AttentionArguments(block, block, block, block) { LogSumExp = sums, Batch = 1, Heads = 1, KeyHeads = 1, HeadSize = size, QueryLength = 64, KeyLength = 64, QueryStride = size, KeyStride = size, OutputStride = size, Causal = true, Scale = 0.125f };
            device.AttentionForward(attention);
            device.AttentionBackward(attention, new AttentionGradients(block, block, block, block));
        }

        int most = device.Recorded.Max(kernel => SharedBytes(Compile(kernel)));
        Assert.Equal(GpuAttentionTiles.SharedBytes(depth), most);
        Assert.InRange(most, 0, shared);
        Assert.All(device.Recorded, kernel => Assert.InRange(kernel.Threads, 1, GpuLimits.Threads));

        static int SharedBytes(string ptx) => System.Text.RegularExpressions.Regex.Matches(ptx, @"\.shared \.align \d+ \.b8 \S+\[(\d+)\]")
            .Sum(match => int.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture));
    }

    [Theory]
    [InlineData(1024, 48 << 10, false, null)]
    [InlineData(256, 32 << 10, false, null)]
    [InlineData(128, 48 << 10, false, "at most 128 threads")]
    [InlineData(1024, 16 << 10, false, "16 KiB of shared memory")]
    [InlineData(4096, 512 << 10, true, null)]
    [InlineData(4096, 48 << 10, true, "48 KiB of shared memory")]
    public void DevicesWithTooSmallGroupsAreRefused(int threads, int shared, bool isProcessor, string? problem)
    {
        string? found = GpuLimits.ProblemOf(threads, shared, isProcessor);
        if (problem is null)
            Assert.Null(found);
        else
            Assert.Contains(problem, found, StringComparison.Ordinal);
    }

    private static string Compile(RecordedKernel kernel)
    {
        using var compiler = GpuCompiler.For("ptx", 80);
        return compiler.Source(kernel);
    }

    private static void VectorsHaveNoBankConflict(int threads, Func<int, int> four)
    {
        foreach (int[] group in Enumerable.Range(0, threads).Select(four).Chunk(Warp / 4))
            MeetNoBankTwice(group.SelectMany(place => Enumerable.Range(place * 4, 4)));
    }

    private static void WordsHaveNoBankConflict(int threads, Func<int, int> word)
    {
        foreach (int[] group in Enumerable.Range(0, threads).Select(word).Chunk(Warp))
            MeetNoBankTwice(group);
    }

    /// <summary>The same word is read once for all.</summary>
    private static void MeetNoBankTwice(IEnumerable<int> words) => Assert.All(words.Distinct().GroupBy(word => word % Banks), bank => Assert.Single(bank));

    private static void SectorsAreWhole(int threads, Func<int, int> firstOfFour)
    {
        foreach (int[] group in Enumerable.Range(0, threads).Select(firstOfFour).Chunk(Warp))
            Assert.Equal(group.Length * 4 / SectorWords, group.Select(word => word / SectorWords).Distinct().Count());
    }
}
