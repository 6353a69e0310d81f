using System.Diagnostics;
using System.Globalization;
using ILGpuOptim;
using ILGpuOptim.Fuzz;

// Structure-aware fuzzing of every format that the library reads. A case is a folder of valid files, one of which is damaged. The only
// outcomes that are accepted are success and a UserException, in bounded time and memory.
//
//   ILGpuOptim.Fuzz [--seconds 60] [--seed 1] [--target NAME] [--out FOLDER]    fuzzes; failing cases are kept in FOLDER
//   ILGpuOptim.Fuzz --replay FOLDER --target NAME                               runs one kept case again

// A damaged case may allocate twice the bytes of the undamaged one, plus ten times the size of its files, plus a megabyte.
const long FreeBytes = 1L << 20;
const int BytesPerByte = 10, Growth = 2;
TimeSpan mostTime = TimeSpan.FromSeconds(10);

string? Option(string name) => Array.IndexOf(args, name) is >= 0 and int at && at + 1 < args.Length ? args[at + 1] : null;
double seconds = double.Parse(Option("--seconds") ?? "60", CultureInfo.InvariantCulture);
int seed = int.Parse(Option("--seed") ?? "1", CultureInfo.InvariantCulture);
string output = Option("--out") ?? Path.Combine(Path.GetTempPath(), "ilgpuoptim-fuzz");
using var workspace = new Workspace();
IReadOnlyList<Target> targets = [.. Targets.All(workspace).Where(target => Option("--target") is not { } name || target.Name == name)];
if (targets.Count == 0)
{
    Console.Error.WriteLine($"there is no such target; there are {string.Join(", ", Targets.All(workspace).Select(target => target.Name).Distinct())}");
    return 2;
}

if (Option("--replay") is { } replay)
{
    Outcome outcome = Run(targets[0], replay, targets.Max(Measure));
    Console.WriteLine(outcome);
    return outcome.IsAccepted ? 0 : 1;
}

// Every undamaged case, and every case that once failed, must be accepted.
var found = new Dictionary<string, int>();
var undamaged = new Dictionary<Target, long>();
foreach (Target target in targets)
{
    undamaged[target] = Measure(target);
    Report(target, Run(target, workspace.Folder, undamaged[target]), "undamaged");
}

// A watchdog ends the program if a case hangs; the case stays on the disk.
var clock = Stopwatch.StartNew();
long cases = 0, accepted = 0, began = Stopwatch.GetTimestamp();
var watchdog = new Thread(() =>
{
    while (true)
    {
        Thread.Sleep(500);
        if (Stopwatch.GetElapsedTime(Interlocked.Read(ref began)) > 3 * mostTime)
        {
            Console.Error.WriteLine($"FAILED: a case did not end; it is in {workspace.Folder}");
            Environment.Exit(1);
        }
    }
})
{ IsBackground = true };
watchdog.Start();
var random = new Random(seed);
while (clock.Elapsed.TotalSeconds < seconds)
{
    Target target = targets[random.Next(targets.Count)];
    string file = target.Damaged[random.Next(target.Damaged.Count)];
    byte[] contents = Mutator.Mutate(file, target.Files[file], random);
    workspace.Write(target.Files, file, contents);
    Interlocked.Exchange(ref began, Stopwatch.GetTimestamp());
    Outcome outcome = Run(target, workspace.Folder, undamaged[target]);
    cases++;
    accepted += outcome.Error is UserException ? 0 : 1;
    Report(target, outcome, file);
}

Console.WriteLine($"{cases:N0} cases of {targets.Count} targets with seed {seed}: {accepted:N0} read, {cases - accepted:N0} refused, {found.Values.Sum():N0} unexpected of {found.Count} kinds");
return found.Count == 0 ? 0 : 1;

// The bytes that the undamaged case allocates. The first reading is not counted, because it also loads static tables.
long Measure(Target target)
{
    workspace.Write(target.Files);
    Run(target, workspace.Folder, 0);
    return Run(target, workspace.Folder, 0).Bytes;
}

Outcome Run(Target target, string folder, long undamagedBytes)
{
    long size = Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Sum(path => new FileInfo(path).Length);
    long allocated = GC.GetTotalAllocatedBytes();
    var time = Stopwatch.StartNew();
    Exception? error = null;
    try
    {
        target.Read(folder);
    }
    catch (Exception e)
    {
        error = e;
    }

    long bytes = GC.GetTotalAllocatedBytes() - allocated;
    return new Outcome(error, bytes, FreeBytes + (Growth * undamagedBytes) + (BytesPerByte * size), time.Elapsed, mostTime);
}

void Report(Target target, Outcome outcome, string what)
{
    if (outcome.IsAccepted)
        return;
    string kind = $"{target.Name}, {what}: {outcome.Kind}";
    if (found.TryGetValue(kind, out int count))
    {
        found[kind] = count + 1;
        return;
    }

    found[kind] = 1;
    string kept = Path.Combine(output, $"{target.Name}-{found.Count}");
    workspace.CopyTo(kept);
    Console.Error.WriteLine($"FAILED: {kind}\n  {outcome}\n  kept in {kept}");
}
