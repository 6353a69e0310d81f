namespace ILGpuOptim.Compute;

// Attention.
public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    public override void AttentionForward(in AttentionArguments arguments) => throw new NotSupportedException("attention");

    /// <inheritdoc/>
    public override void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients) => throw new NotSupportedException("attention");
}
