using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Families whose full and sliding layers have rotary positions of their own.</summary>
internal static class LayerKindRotary
{
    /// <summary>Fails when <c>rope_parameters</c> has one set for all layers.</summary>
    /// <exception cref="UserException">With the first field that says so.</exception>
    public static void CheckNested(string source, RotaryParameters? parameters)
    {
        if (parameters is not null && ConfigSchema.Of(typeof(RotaryScaling)).Write(parameters) is { Count: > 0 } flat)
            throw new UserException($"{source}: rope_parameters.{flat.First().Key} is for all layers, but full and sliding layers of this family have rotary positions of their own; put it into rope_parameters.full_attention and rope_parameters.sliding_attention");
    }
}
