using System.Reflection;
using TorchSharp;

namespace PeerBenchmarks.Workloads;

/// <summary>Which TorchSharp and libtorch run.</summary>
internal static class TorchVersion
{
    public static string Text => $"TorchSharp {typeof(torch).Assembly.GetName().Version!.ToString(3)}, libtorch {torch.__version__}";
}
