using System.Diagnostics;
using ILGpuOptim.Data.Tokenization;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Merges of byte-pair encoding.</summary>
public sealed class MergeTableTests
{
    /// <summary>Random merges, in which ranks need not follow the order in which tokens become possible, against the definition.</summary>
    [Fact]
    public void MergesAreThoseOfTheDefinition()
    {
        var random = new Random(7);
        int merged = 0;
        for (int table = 0; table < 300; table++)
        {
            int letters = random.Next(1, 5), count = random.Next(1, 60);
            var tokens = Enumerable.Range(0, letters).Select(letter => ((char)('a' + letter)).ToString()).ToList();
            var made = new List<(int Left, int Right, int Target)>();
            while (made.Count < count)
            {
                (int left, int right) = (random.Next(tokens.Count), random.Next(tokens.Count));
                string text = tokens[left] + tokens[right];
                if (made.Any(merge => merge.Left == left && merge.Right == right) || text.Length > 40)
                {
                    count--;
                    continue;
                }

                if (!tokens.Contains(text))
                    tokens.Add(text);
                made.Add((left, right, tokens.IndexOf(text)));
            }

            (int Left, int Right, int Target)[] merges = [.. made];
            if (table % 3 > 0)
                random.Shuffle(merges);
            var merger = new MergeTable([.. merges.Select(merge => merge.Target)]);
            for (int rank = 0; rank < merges.Length; rank++)
                merger.Add(merges[rank].Left, merges[rank].Right, rank);
            for (int text = 0; text < 40; text++)
            {
                int[] symbols = [.. Enumerable.Range(0, random.Next(60)).Select(_ => random.Next(letters + 1) is var letter && letter < letters ? letter : text % 2 == 0 ? 0 : -2)];
                List<int> expected = Defined(symbols, merges);
                merged += symbols.Length - expected.Count;
                int kept = merger.Apply(symbols);
                Assert.Equal(expected, symbols[..kept]);
            }
        }

        Assert.True(merged > 50_000);
    }

    /// <summary>Pairs of equal tokens must not share a place in the table: a vocabulary has thousands of them.</summary>
    [Fact]
    public void PairsOfEqualTokensAreFoundAtOnce()
    {
        const int Pairs = 100_000;
        int[] targets = [.. Enumerable.Range(Pairs, Pairs)];
        var merger = new MergeTable(targets);
        for (int token = 0; token < Pairs; token++)
            merger.Add(token, token, token);
        int[] symbols = [.. Enumerable.Range(0, 1_000_000).Select(place => place / 2 % Pairs)];
        var time = Stopwatch.StartNew();
        Assert.Equal(symbols.Length / 2, merger.Apply(symbols));
        Assert.Equal(Enumerable.Range(0, symbols.Length / 2).Select(place => Pairs + (place % Pairs)), symbols[..(symbols.Length / 2)]);
        Assert.True(time.Elapsed < TimeSpan.FromSeconds(10), $"{time.Elapsed}");
    }

    /// <summary>Merges the leftmost of the pairs with the lowest rank, until there is none.</summary>
    private static List<int> Defined(int[] symbols, (int Left, int Right, int Target)[] merges)
    {
        var result = symbols.ToList();
        while (true)
        {
            (int Rank, int Place) best = (int.MaxValue, 0);
            for (int place = 0; place + 1 < result.Count; place++)
            {
                int rank = Array.FindIndex(merges, merge => merge.Left == result[place] && merge.Right == result[place + 1]);
                if (rank >= 0 && rank < best.Rank)
                    best = (rank, place);
            }

            if (best.Rank == int.MaxValue)
                return result;
            result[best.Place] = merges[best.Rank].Target;
            result.RemoveAt(best.Place + 1);
        }
    }
}
