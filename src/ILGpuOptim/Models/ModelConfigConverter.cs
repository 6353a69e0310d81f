using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>Configurations within other JSON, such as the settings of a run: in the form of <c>config.json</c>, of any registered family.</summary>
internal sealed class ModelConfigConverter : JsonConverter<ModelConfig>
{
    /// <inheritdoc/>
    public override ModelConfig Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        using JsonDocument document = JsonDocument.ParseValue(ref reader);
        return ModelConfig.Read(new JsonFields(document.RootElement.Clone(), "JSON"));
    }

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, ModelConfig value, JsonSerializerOptions options) => value.ToJsonObject().WriteTo(writer, options);
}
