ILGpuOptim.Cli.StandardOutput.Install();
return ILGpuOptim.Cli.CommandLine.Run(args);
