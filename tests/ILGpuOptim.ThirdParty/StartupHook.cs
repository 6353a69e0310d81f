using ILGpuOptim.Compute;
using ThirdParty;

/// <summary>.NET calls it before the program starts when <c>DOTNET_STARTUP_HOOKS</c> names this assembly, so the tool has the device too.</summary>
internal static class StartupHook
{
    /// <summary>Registers the device.</summary>
    public static void Initialize() => Devices.Register(TallyDevice.Kind);
}
