using BenchmarkDotNet.Running;
using ILGpuOptim.Benchmarks;
using ILGpuOptim.Benchmarks.Devices;

if (args is ["device", ..])
    return DeviceBenchmarks.Run(args[1..]);
if (args is ["tokenizers", .. var files])
    return TokenizerBenchmarks.Run(files);
if (args is ["ranks", ..])
    return RankBenchmark.Run(args[1..]);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
