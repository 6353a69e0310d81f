using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Text.RegularExpressions;
using ILGpuOptim.Lab;
using ILGpuOptim.Tests.Cli;

namespace ILGpuOptim.Tests.Lab;

public sealed class ProcessorKernelsTests
{
    /// <summary>The one rule that is too large: both derivatives of a power, added to what is there.</summary>
    private const string TooLarge = "Accumulating[Lift5[Backward2[Power,";

    /// <summary>
    /// Counts, in the machine code of every loop of models, operations, functions, attention and optimizers: a loop with many calls of lane operations, or
    /// with vectors that live on the stack, takes many times as long and gives the same results.
    /// </summary>
    [Fact]
    public void LaneOperationsAreInstructionsAndVectorsLieInRegisters()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "the listing is read for x64 only");
        Outcome outcome = Tool.Run("kernels", "all", "--target", "cpu", "--list", "--rows", "24", "--columns", "41");
        Assert.True(outcome.Code <= 1 && outcome.Error.Length == 0, outcome.Error);
        Assert.Equal("", Rows(outcome.Output, row => row["calls"].Value != "0" && !row["title"].Value.Contains(TooLarge, StringComparison.Ordinal)));
        Assert.NotEqual("", Rows(outcome.Output, row => row["calls"].Value != "0" && row["title"].Value.Contains(TooLarge, StringComparison.Ordinal)));
        Assert.Equal("", Rows(outcome.Output, row => !row["title"].Value.Contains(TooLarge, StringComparison.Ordinal) && !row["title"].Value.Contains("[F1,", StringComparison.Ordinal)
            && row["title"].Value.Contains("Loop[", StringComparison.Ordinal) && 4 * int.Parse(row["stack"].Value) > int.Parse(row["instructions"].Value)));
        string[] lanes = ["F1", "F4", .. Vector256.IsHardwareAccelerated ? (string[])["F8"] : [], .. Vector512.IsHardwareAccelerated ? (string[])["F16"] : []];
        string[] titles = [.. lanes.Select(lane => $"CpuMapLoop[{lane},Lift4[MoveRule2[AdamDirection]]]:Run"), .. lanes.Skip(1).Select(lane => $"CpuRowWork[{lane},SoftmaxRows[LogSumExpRule]]:SumSecond[{lane}]")];
        Assert.All(titles, title => Assert.Contains(title + ",", outcome.Output));
    }

    [Fact]
    public void CallsOfLaneOperationsAndVectorsOnTheStackAreCounted()
    {
        const string Listing = """
            ; Assembly listing for method ILGpuOptim.Compute.Cpu.CpuMapLoop`2[ILGpuOptim.Compute.F8,ILGpuOptim.Compute.Lift1`1[Rule]]:Run(ptr,ptr,int,int,ptr) (FullOpts)
            G_M1:
                   vmovups  ymm0, ymmword ptr [rdi]
                   vmovups  ymmword ptr [rbp-0x40], ymm0
                   call     [ILGpuOptim.Compute.F8:op_Addition(ILGpuOptim.Compute.F8,ILGpuOptim.Compute.F8):ILGpuOptim.Compute.F8]
                   call     [ILGpuOptim.Compute.Lift1`1[Rule]:get_Access():uint]
                   call     CORINFO_HELP_POLL_GC
                   ret
            ; Total bytes of code 40
            ; Assembly listing for method ILGpuOptim.Compute.Cpu.WorkerPool:Work(int):this (FullOpts)
                   ret
            ; Assembly listing for method ILGpuOptim.Compute.Cpu.CpuRowWork`2[ILGpuOptim.Compute.F4,Rule]:RunRow(long,int):this (FullOpts)
                   call     [ILGpuOptim.Compute.Cpu.CpuRowWork`2[ILGpuOptim.Compute.F4,Rule]:SumFirst[ILGpuOptim.Compute.F1](byref,ptr,int,int,float):float]
                   call     [ILGpuOptim.Compute.LaneMath:Exp[ILGpuOptim.Compute.F1](ILGpuOptim.Compute.F1):ILGpuOptim.Compute.F1]
            """;
        IReadOnlyList<ProcessorKernel> kernels = ProcessorKernels.Read(new StringReader(Listing));
        Assert.Equal([("CpuMapLoop[F8,Lift1[Rule]]:Run", 6, 2, 1), ("CpuRowWork[F4,Rule]:RunRow", 2, 1, 0)],
            kernels.Select(kernel => (kernel.Title, kernel.Instructions, kernel.LaneCalls, kernel.StackAccesses)));
        Assert.StartsWith("; Assembly listing for method ILGpuOptim.Compute.Cpu.CpuMapLoop", kernels[0].Text);
    }

    private static string Rows(string output, Func<GroupCollection, bool> isBad) =>
        string.Concat(output.Split('\n').Select(line => (line, Match: Regex.Match(line, @": (?<title>\S+), (?<instructions>\d+) instructions, lane operations that are calls: (?<calls>\d+), vectors on the stack: (?<stack>\d+)")))
            .Where(row => row.Match.Success && isBad(row.Match.Groups)).Select(row => row.line + "\n"));
}
