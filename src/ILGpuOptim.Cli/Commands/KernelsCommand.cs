using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>kernels</c>: prints GPU kernels.</summary>
internal static class KernelsCommand
{
    public static Command Create()
    {
        var optimizer = new Argument<string>("optimizer") { Description = "optimizer (as in train --optimizer, such as adamw+cautious:ams_grad=true); \"models\": the kernels of models and general operations; \"all\": those of models and of every optimizer" };
        var target = new Option<string>("--target") { Description = "ptx or opencl; cpu: the x64 machine code of the CPU's loops, for each vector width", DefaultValueFactory = _ => "ptx" };
        Option<int> architecture = Flag.Of("--arch", "compute capability for PTX, such as 70, 80 or 90", 80, new RangeAttribute(50, 90));
        Option<int> rows = Flag.Of("--rows", "rows of the updated matrix", 768, new RangeAttribute(1, 1 << 16));
        Option<int> columns = Flag.Of("--columns", "columns of the updated matrix", 2304, new RangeAttribute(1, 1 << 16));
        var list = new Option<bool>("--list") { Description = "print only the names of the kernels" };
        var output = new Option<string?>("--out") { Description = "write one file per kernel to this folder instead of printing" };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("kernels", "Print the fused kernels of an optimizer; needs no GPU. Each begins with a line that names its kernel shape and rule: the class and struct in C#.") { optimizer, target, architecture, rows, columns, list, output, json };
        command.SetAction(result =>
        {
            string kind = result.GetRequiredValue(target).ToLowerInvariant();
            string chosen = result.GetRequiredValue(optimizer);
            if (kind == "cpu")
                return ProcessorKernelList.Print(chosen, result.GetValue(rows), result.GetValue(columns), result.GetValue(list), result.GetValue(output), result.GetValue(json));
            if (!KernelRecorder.Targets.Contains(kind))
                throw new UserException($"--target {kind}: it must be {string.Join(", ", KernelRecorder.Targets)} or cpu");
            var kernels = new Dictionary<string, KernelSource>();
            using var recorder = new KernelRecorder();
            void Collect()
            {
                foreach (KernelSource kernel in recorder.Compile(kind, result.GetValue(architecture)))
                    kernels.TryAdd(kernel.Key, kernel);
            }

            if (chosen is "models" or "all")
            {
                KernelListing.RecordModels(recorder);
                OperationListing.Record(recorder);
                recorder.RecordProducts();
                AttentionListing.Launch(recorder.Device);
                Collect();
            }

            foreach (string name in chosen == "all" ? Registry.Entries.Select(entry => entry.Name) : chosen == "models" ? [] : [chosen])
            {
                KernelListing.RecordUpdate(recorder, KernelListing.SettingsOf(name), result.GetValue(rows), result.GetValue(columns));
                Collect();
            }

            string sizes = chosen == "models" ? "" : $", for a matrix of {result.GetValue(rows)} × {result.GetValue(columns)} and a vector of {result.GetValue(columns)}";
            if (!result.GetValue(json))
                Console.WriteLine($"// {chosen}: {kernels.Count} {(kernels.Count == 1 ? "kernel" : "kernels")}{sizes}, as {(kind == "ptx" ? $"PTX for sm_{result.GetValue(architecture)}" : "OpenCL C")}");
            Print([.. kernels.Values.Select(kernel => (Title(kernel), kernel.Text))], kind == "ptx" ? "ptx" : "cl", result.GetValue(list), result.GetValue(output), result.GetValue(json));
            return 0;
        });
        return command;
    }

    /// <summary>Prints kernels, as text or as lines of JSON, or writes them to a folder.</summary>
    internal static void Print(IReadOnlyList<(string Title, string Text)> kernels, string extension, bool onlyNames, string? folder, bool json)
    {
        if (folder is not null)
        {
            try
            {
                AtomicFolder.Write(folder, partial =>
                {
                    for (int i = 0; i < kernels.Count; i++)
                        File.WriteAllText(Path.Combine(partial, $"{i:D3}.{extension}"), $"// {kernels[i].Title}{Environment.NewLine}{kernels[i].Text}");
                });
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UserException($"{folder}: the kernels cannot be written: {e.Message}; choose another --out", e);
            }
        }

        if (json)
        {
            foreach ((string title, string text) in kernels)
                CommonOptions.PrintJson(new { Title = title, Text = onlyNames || folder is not null ? null : text });
            return;
        }

        for (int i = 0; i < kernels.Count; i++)
        {
            if (folder is null || onlyNames)
                Console.WriteLine($"// kernel {i + 1} of {kernels.Count}: {kernels[i].Title}");
            if (folder is null && !onlyNames)
                Console.WriteLine(kernels[i].Text.Trim() + Environment.NewLine);
        }

        if (folder is not null)
            Console.WriteLine($"{kernels.Count} kernels are in {folder}");
    }

    private static string Title(KernelSource kernel) => $"{kernel.Title}, groups of {kernel.Threads} threads";
}
