using BenchmarkDotNet.Running;
using ILGpuOptim.Benchmarks;
using ILGpuOptim.Benchmarks.Devices;

if (args is ["device", ..])
    return DeviceBenchmarks.Run(args[1..]);
if (args is ["tokenizers", .. var files])
    return TokenizerBenchmarks.Run(files);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
