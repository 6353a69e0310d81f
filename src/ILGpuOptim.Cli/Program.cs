return ILGpuOptim.Cli.CommandLine.Run(args);
