using System.Runtime.InteropServices;

namespace ILGpuOptim.Tests.Models;

/// <summary>A LLaMA in double precision straight from a llama2.c file: what its format means, in the plainest words.</summary>
internal static class Llama2CReference
{
    public static float[] Logits(byte[] file, int[] ids)
    {
        int[] sizes = MemoryMarshal.Cast<byte, int>(file.AsSpan(0, 28)).ToArray();
        (int width, int inner, int layers, int heads, int keyHeads, int vocabulary, int positions) = (sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], Math.Abs(sizes[5]), sizes[6]);
        int size = width / heads, keys = keyHeads * size, place = 28;
        float[] Take(int count)
        {
            float[] values = MemoryMarshal.Cast<byte, float>(file.AsSpan(place, 4 * count)).ToArray();
            place += 4 * count;
            return values;
        }

        float[][] PerLayer(int count) => [.. Enumerable.Range(0, layers).Select(_ => Take(count))];
        float[] table = Take(vocabulary * width);
        float[][] first = PerLayer(width), wq = PerLayer(width * width), wk = PerLayer(width * keys), wv = PerLayer(width * keys), wo = PerLayer(width * width);
        float[][] second = PerLayer(width), w1 = PerLayer(width * inner), w2 = PerLayer(width * inner), w3 = PerLayer(width * inner);
        float[] last = Take(width), cosines = Take(positions * size / 2), sines = Take(positions * size / 2);
        float[] head = sizes[5] < 0 ? Take(vocabulary * width) : table;
        Assert.Equal(file.Length, place);

        double[][] x = [.. ids.Select(id => table.Skip(id * width).Take(width).Select(value => (double)value).ToArray())];
        for (int layer = 0; layer < layers; layer++)
        {
            double[][] normal = [.. x.Select(row => Norm(row, first[layer]))];
            double[][] q = [.. normal.Select((row, t) => Turn(Product(wq[layer], row), t))], k = [.. normal.Select((row, t) => Turn(Product(wk[layer], row), t))];
            double[][] v = [.. normal.Select(row => Product(wv[layer], row))];
            for (int t = 0; t < ids.Length; t++)
            {
                var mixed = new double[width];
                for (int h = 0; h < heads; h++)
                {
                    int from = h / (heads / keyHeads) * size;
                    double[] weights = [.. Enumerable.Range(0, t + 1).Select(j => Math.Exp(Enumerable.Range(0, size).Sum(i => q[t][h * size + i] * k[j][from + i]) / Math.Sqrt(size)))];
                    for (int i = 0; i < size; i++)
                        mixed[h * size + i] = Enumerable.Range(0, t + 1).Sum(j => weights[j] * v[j][from + i]) / weights.Sum();
                }

                x[t] = [.. x[t].Zip(Product(wo[layer], mixed), (a, b) => a + b)];
                double[] row = Norm(x[t], second[layer]);
                double[] gated = [.. Product(w1[layer], row).Zip(Product(w3[layer], row), (gate, up) => gate / (1 + Math.Exp(-gate)) * up)];
                x[t] = [.. x[t].Zip(Product(w2[layer], gated), (a, b) => a + b)];
            }
        }

        return [.. x.SelectMany(row => Product(head, Norm(row, last))).Select(value => (float)value)];

        double[] Turn(double[] row, int t)
        {
            var result = new double[row.Length];
            for (int i = 0; i < row.Length; i += 2)
            {
                double cosine = cosines[t * size / 2 + i % size / 2], sine = sines[t * size / 2 + i % size / 2];
                (result[i], result[i + 1]) = (row[i] * cosine - row[i + 1] * sine, row[i] * sine + row[i + 1] * cosine);
            }

            return result;
        }
    }

    private static double[] Norm(double[] row, float[] weight)
    {
        double scale = 1 / Math.Sqrt(row.Sum(value => value * value) / row.Length + 1e-5);
        return [.. row.Select((value, i) => value * scale * weight[i])];
    }

    private static double[] Product(float[] matrix, double[] x) =>
        [.. Enumerable.Range(0, matrix.Length / x.Length).Select(row => Enumerable.Range(0, x.Length).Sum(i => matrix[row * x.Length + i] * x[i]))];
}
