namespace ILGpuOptim.Ops;

/// <summary>Activations under the names that <c>config.json</c> has for them, and those that were added. Any thread may read and add.</summary>
public static class ActivationNames
{
    private static readonly Lock Adding = new();

    private static readonly Dictionary<string, Activation> Standard = new()
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

    /// <summary>Never changed, but replaced, so that readers need no lock.</summary>
    private static volatile Dictionary<string, Activation> known = Standard;

    /// <summary>All names.</summary>
    public static IReadOnlyCollection<string> Names => known.Keys;

    /// <summary>The activation of a name; null when it is not known.</summary>
    public static Activation? Find(string name) => known.GetValueOrDefault(name);

    /// <summary>Lets configurations name one more activation.</summary>
    /// <exception cref="UserException">The name is taken.</exception>
    public static void Add(string name, Activation activation)
    {
        using Lock.Scope scope = Adding.EnterScope();
        if (known.ContainsKey(name))
            throw new UserException($"there already is an activation \"{name}\"; choose another name");
        known = new(known) { [name] = activation };
    }

    /// <summary>True if a name is none of <c>transformers</c>', but was added.</summary>
    internal static bool IsAdded(string name) => known.ContainsKey(name) && !Standard.ContainsKey(name);

    /// <summary>Fails when an activation is not known.</summary>
    /// <exception cref="UserException">With the field, the name and those that are known.</exception>
    internal static void Require(string source, string field, string name)
    {
        if (Find(name) is null)
            throw new UserException($"{source}: {field} = \"{name}\" is not supported{Nearest.Question(name, Names)} There are {string.Join(", ", Names)}");
    }
}
