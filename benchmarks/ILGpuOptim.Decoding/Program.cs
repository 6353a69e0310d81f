using System.Diagnostics;
using System.Globalization;
using DecodingBenchmark;
using PeerBenchmarks.Running;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is ["ours", string checkpoint, string count])
{
    (double speed, int[] ids) = Decoding.Measure(checkpoint, int.Parse(count));
    Console.WriteLine($"achieved tok/s: {speed:F3}");
    Console.WriteLine(string.Join(' ', ids));
    return 0;
}

if (args is not [string peer, string folder, .. string[] names])
{
    Console.Error.WriteLine("usage: RUN FOLDER [15M|110M ...], RUN being llama2.c's program and FOLDER a place for checkpoints of random weights");
    return 2;
}

const int Rounds = 7, MaxAttempts = 21;
Directory.CreateDirectory(folder);
string tokenizer = Shape.WriteTokenizer(folder);
(double read, double copy) = Decoding.Bandwidth();
Console.WriteLine($"{Decoding.Threads} threads; memory: {read / 1e9:F1} GB/s read, {copy / 1e9:F1} GB/s read and written in a copy");
Console.WriteLine();
Console.WriteLine("| model | side | tokens/s, median | least to most | GB/s of weights | ours / llama2.c |");
Console.WriteLine("|---|---|---:|---|---:|---:|");
foreach (Shape shape in Shape.All.Where(shape => names.Length == 0 || names.Contains(shape.Name)))
{
    string path = shape.Write(folder);
    int steps = shape.Name == "15M" ? 256 : 96;
    var ours = new List<double>();
    var theirs = new List<double>();
    string[] answer = [];
    string text = "";
    int disturbed = 0;
    for (int attempt = 0; attempt < MaxAttempts && ours.Count < Rounds; attempt++)
    {
        // A round in which other programs used more than a tenth of a core is taken again, whatever its figures.
        long start = Stopwatch.GetTimestamp();
        TimeSpan foreign = Machine.Busy() - Children();
        (text, string speed) = Run(peer, path, "-t", "0", "-n", $"{steps}", "-z", tokenizer);
        answer = Run(Environment.ProcessPath!, "ours", path, $"{steps}").Output.Split('\n');
        foreign = Machine.Busy() - Children() - foreign;
        if (foreign > Stopwatch.GetElapsedTime(start) / 10)
        {
            disturbed++;
            continue;
        }

        theirs.Add(Speed(speed));
        ours.Add(Speed(answer[0]));
    }

    if (disturbed > 0)
        Console.Error.WriteLine($"{shape.Name}: took {disturbed} rounds again, as other programs used the machine");
    if (ours.Count == 0)
        return 1;

    string[] expected = [.. answer[1].Split(' ').Select(id => $"t{int.Parse(id):D5}")];
    bool same = text.TrimEnd('\n') == string.Concat(expected);
    Row("ours", ours, $"{Median(ours.Zip(theirs, (a, b) => a / b)):F2}");
    Row("llama2.c", theirs, same ? "the same tokens" : "other tokens");

    void Row(string side, List<double> speeds, string ratio) =>
        Console.WriteLine($"| {shape.Name} | {side} | {Median(speeds):F0} | {speeds.Min():F0}–{speeds.Max():F0} | {Median(speeds) * shape.Bytes / 1e9:F1} | {ratio} |");
}

return 0;

static double Median(IEnumerable<double> values)
{
    double[] sorted = [.. values.Order()];
    return sorted[sorted.Length / 2];
}

// What processes that have ended used: fields 16 and 17 of /proc/self/stat, in hundredths of a second.
static TimeSpan Children()
{
    string[] fields = File.ReadAllText("/proc/self/stat").Split(") ")[1].Split(' ');
    return TimeSpan.FromSeconds((double.Parse(fields[13]) + double.Parse(fields[14])) / 100);
}

static double Speed(string line) => double.Parse(line.Split(':')[1]);

static (string Output, string Error) Run(string program, params string[] arguments)
{
    var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
    start.Environment["OMP_NUM_THREADS"] = $"{Decoding.Threads}";
    using Process process = Process.Start(start)!;
    Task<string> error = process.StandardError.ReadToEndAsync();
    string output = process.StandardOutput.ReadToEnd();
    process.WaitForExit();
    return process.ExitCode == 0 ? (output, error.Result) : throw new InvalidOperationException($"{program}: {error.Result}");
}
