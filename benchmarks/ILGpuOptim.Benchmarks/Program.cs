using BenchmarkDotNet.Running;
using ILGpuOptim.Benchmarks.Devices;

if (args is ["device", ..])
    return DeviceBenchmarks.Run(args[1..]);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
