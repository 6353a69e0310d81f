ILGpuOptim.Cli.StandardOutput.Install();
return ILGpuOptim.Cli.CommandLine.Run(args);

// ASP.NET Core declares a public class where there is no declaration.
internal sealed partial class Program;
