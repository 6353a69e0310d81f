using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>The field <c>quantization_config</c> of <c>config.json</c>.</summary>
internal static class QuantizationField
{
    /// <summary>Its name.</summary>
    public const string Name = "quantization_config";

    /// <summary>The format of the weights, by which the field's <c>quant_method</c> names it.</summary>
    private const string Method = "ilgpuoptim-int4";

    /// <summary>Reads the field of a configuration; null if it has none, or one of another format.</summary>
    /// <exception cref="UserException">The field is of this format and has an unknown or unsupported value.</exception>
    public static QuantizationConfig? Read(JsonFields fields)
    {
        if (!fields.Unread.TryGetValue(Name, out JsonElement value) || value is not { ValueKind: JsonValueKind.Object }
            || !value.TryGetProperty("quant_method", out JsonElement method) || method.ValueKind != JsonValueKind.String || !method.ValueEquals(Method))
        {
            return null;
        }

        JsonFields own = fields.RequiredObject(Name);
        _ = own.Text("quant_method");
        var result = new QuantizationConfig { Bits = own.RequiredInt("bits"), GroupSize = own.RequiredInt("group_size"), BranchRank = own.RequiredInt("branch_rank") };
        own.Finish();
        result.Check($"{fields.Source}: {Name}.");
        return result;
    }

    /// <summary>The field's value.</summary>
    public static JsonObject Write(QuantizationConfig config) => new() { ["quant_method"] = Method, ["bits"] = config.Bits, ["group_size"] = config.GroupSize, ["branch_rank"] = config.BranchRank };
}
