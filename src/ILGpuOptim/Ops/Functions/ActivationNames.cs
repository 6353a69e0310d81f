namespace ILGpuOptim.Ops;

/// <summary>Activations under the names that <c>config.json</c> has for them, and those that were added.</summary>
public static class ActivationNames
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
        ["silu"] = Activation.Silu,
        ["swish"] = Activation.Silu,
        ["relu"] = Activation.Relu,
        ["relu2"] = Activation.SquaredRelu,
        ["relu6"] = Activation.Relu6,
        ["leaky_relu"] = Activation.LeakyRelu,
        ["elu"] = Activation.Elu,
        ["mish"] = Activation.Mish,
        ["softplus"] = Activation.Softplus,
        ["sigmoid"] = Activation.Sigmoid,
        ["tanh"] = Activation.Tanh,
        ["linear"] = Activation.Identity,
        ["laplace"] = Activation.Laplace,
    };

    private static readonly HashSet<string> Added = [];

    /// <summary>All names.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>The activation of a name; null when it is not known.</summary>
    public static Activation? Find(string name) => Known.GetValueOrDefault(name);

    /// <summary>Lets configurations name one more activation.</summary>
    /// <exception cref="UserException">The name is taken.</exception>
    public static void Add(string name, Activation activation)
    {
        if (!Known.TryAdd(name, activation))
            throw new UserException($"there already is an activation \"{name}\"; choose another name");
        Added.Add(name);
    }

    /// <summary>Whether a name is none of <c>transformers</c>', but was added.</summary>
    internal static bool IsAdded(string name) => Added.Contains(name);

    /// <summary>Fails when an activation is not known.</summary>
    /// <exception cref="UserException">With the field, the name and those that are known.</exception>
    internal static void Require(string source, string field, string name)
    {
        if (Find(name) is null)
            throw new UserException($"{source}: {field} = \"{name}\" is not supported{Nearest.Question(name, Known.Keys)} There are {string.Join(", ", Known.Keys)}");
    }
}
