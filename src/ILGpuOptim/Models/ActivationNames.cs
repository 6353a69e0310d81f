using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>Activations under the names that <c>config.json</c> has for them; several names mean the same function.</summary>
internal static class ActivationNames
{
    private static readonly Dictionary<string, Activation> Known = new()
    {
        ["gelu_new"] = Activation.GeluTanh,
        ["gelu_pytorch_tanh"] = Activation.GeluTanh,
        ["gelu_fast"] = Activation.GeluTanh,
        ["gelu_accurate"] = Activation.GeluTanh,
        ["gelu"] = Activation.GeluErf,
        ["gelu_python"] = Activation.GeluErf,
        ["quick_gelu"] = Activation.QuickGelu,
        ["relu"] = Activation.Relu,
        ["silu"] = Activation.Silu,
        ["swish"] = Activation.Silu,
    };

    /// <summary>The activation of a name; null when it is not known.</summary>
    public static Activation? Find(string name) => Known.TryGetValue(name, out Activation activation) ? activation : null;

    /// <summary>Fails when an activation is not known.</summary>
    /// <exception cref="UserException">With the field, the name and those that are known.</exception>
    public static void Require(string source, string field, string name)
    {
        if (Find(name) is null)
            throw new UserException($"{source}: {field} = \"{name}\" is not supported; there are {string.Join(", ", Known.Keys)}");
    }
}
