namespace PeerBenchmarks.Workloads;

/// <summary>A product C[m,n] = op(A)[m,k] · op(B)[k,n], row-major.</summary>
/// <param name="Name">Where the product occurs: the model, the layer, and forward or which gradient.</param>
/// <param name="M">Rows of C.</param>
/// <param name="N">Columns of C.</param>
/// <param name="K">The summed dimension.</param>
/// <param name="TransposeA">A is stored k×m.</param>
/// <param name="TransposeB">B is stored n×k.</param>
internal sealed record GemmShape(string Name, int M, int N, int K, bool TransposeA = false, bool TransposeB = false)
{
    /// <summary>Multiplications and additions.</summary>
    public double Operations => 2.0 * M * N * K;

    /// <summary>
    /// Squares; GPT-2 124M at 4 × 64 tokens and the character GPT at 12 × 64 tokens, with weights stored output × input
    /// (forward is A·Bᵀ, the input's gradient A·B, the weight's gradient Aᵀ·B); one token's row.
    /// </summary>
    public static readonly GemmShape[] All =
    [
        new("square_256", 256, 256, 256),
        new("square_512", 512, 512, 512),
        new("square_1024", 1024, 1024, 1024),
        new("square_2048", 2048, 2048, 2048),
        new("gpt2_qkv_forward", 256, 2304, 768, TransposeB: true),
        new("gpt2_attention_out_forward", 256, 768, 768, TransposeB: true),
        new("gpt2_mlp_up_forward", 256, 3072, 768, TransposeB: true),
        new("gpt2_mlp_up_forward_plain", 256, 3072, 768),
        new("gpt2_mlp_down_forward", 256, 768, 3072, TransposeB: true),
        new("gpt2_mlp_up_input_gradient", 256, 768, 3072),
        new("gpt2_mlp_up_weight_gradient", 3072, 768, 256, TransposeA: true),
        new("gpt2_head_forward", 256, 50257, 768, TransposeB: true),
        new("gpt2_head_input_gradient", 256, 768, 50257),
        new("gpt2_head_weight_gradient", 50257, 768, 256, TransposeA: true),
        new("char_qkv_forward", 768, 384, 128, TransposeB: true),
        new("char_attention_out_forward", 768, 128, 128, TransposeB: true),
        new("char_mlp_up_forward", 768, 512, 128, TransposeB: true),
        new("char_mlp_up_forward_plain", 768, 512, 128),
        new("char_mlp_down_forward", 768, 128, 512, TransposeB: true),
        new("char_mlp_up_input_gradient", 768, 128, 512),
        new("char_mlp_up_weight_gradient", 512, 128, 768, TransposeA: true),
        new("char_mlp_down_weight_gradient", 128, 512, 768, TransposeA: true),
        new("char_qkv_weight_gradient", 384, 128, 768, TransposeA: true),
        new("char_attention_out_weight_gradient", 128, 128, 768, TransposeA: true),
        new("char_mlp_down_input_gradient", 768, 512, 128),
        new("char_qkv_input_gradient", 768, 128, 384),
        new("char_attention_out_input_gradient", 768, 128, 128),
        new("char_head_forward", 768, 65, 128, TransposeB: true),
        new("char_head_input_gradient", 768, 128, 65),
        new("char_head_weight_gradient", 65, 128, 768, TransposeA: true),
        new("one_token_mlp_up", 1, 3072, 768, TransposeB: true),
    ];

    /// <summary>Squares; GPT-2 124M at 1024 tokens, and parts of the character GPT: for OpenCL.</summary>
    public static readonly GemmShape[] OpenCl =
    [
        new("square_512", 512, 512, 512),
        new("square_1024", 1024, 1024, 1024),
        new("gpt2_1024_qkv_forward", 1024, 2304, 768, TransposeB: true),
        new("gpt2_1024_qkv_forward_plain", 1024, 2304, 768),
        new("gpt2_1024_attention_out_forward", 1024, 768, 768, TransposeB: true),
        new("gpt2_1024_attention_out_forward_plain", 1024, 768, 768),
        new("gpt2_1024_attention_out_weight_gradient", 768, 768, 1024, TransposeA: true),
        new("gpt2_1024_mlp_up_forward", 1024, 3072, 768, TransposeB: true),
        new("gpt2_1024_mlp_up_forward_plain", 1024, 3072, 768),
        new("gpt2_1024_mlp_up_input_gradient", 1024, 768, 3072),
        new("gpt2_1024_mlp_up_weight_gradient", 3072, 768, 1024, TransposeA: true),
        new("gpt2_1024_mlp_down_forward", 1024, 768, 3072, TransposeB: true),
        new("gpt2_head_forward", 256, 50257, 768, TransposeB: true),
        new("gpt2_head_input_gradient", 256, 768, 50257),
        new("gpt2_head_weight_gradient", 50257, 768, 256, TransposeA: true),
        .. All.Where(shape => shape.Name.StartsWith("char_")),
    ];

    /// <summary>The shape called <paramref name="name"/>.</summary>
    public static GemmShape Named(string name) => All.Concat(OpenCl).First(shape => shape.Name == name);

    public override string ToString() => $"{M} × {N} × {K}{(TransposeA, TransposeB) switch { (true, false) => " Aᵀ·B", (false, true) => " A·Bᵀ", _ => " A·B" }}";
}
