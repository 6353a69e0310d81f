using System.Collections.Immutable;
using System.Reflection.Metadata;
using System.Text.RegularExpressions;

namespace ILGpuOptim.PackageFiles;

/// <summary>The names of types in the signatures of documentation files, such as <c>System.Collections.Generic.List{System.Int32}</c>.</summary>
internal sealed partial class DocumentationTypes : ISignatureTypeProvider<string, object?>
{
    public string GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind)
    {
        TypeDefinition type = reader.GetTypeDefinition(handle);
        string name = reader.GetString(type.Name);
        return type.GetDeclaringType() is { IsNil: false } outer ? $"{GetTypeFromDefinition(reader, outer, 0)}.{name}" : Qualified(reader.GetString(type.Namespace), name);
    }

    public string GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind)
    {
        TypeReference type = reader.GetTypeReference(handle);
        string name = reader.GetString(type.Name);
        return type.ResolutionScope.Kind == HandleKind.TypeReference
            ? $"{GetTypeFromReference(reader, (TypeReferenceHandle)type.ResolutionScope, 0)}.{name}" : Qualified(reader.GetString(type.Namespace), name);
    }

    /// <summary>Puts the arguments in the place of the numbers of parameters, which nested types have one each.</summary>
    public string GetGenericInstantiation(string genericType, ImmutableArray<string> typeArguments)
    {
        int next = 0;
        return Arity().Replace(genericType, match =>
        {
            int count = int.Parse(match.ValueSpan[1..], System.Globalization.CultureInfo.InvariantCulture);
            next += count;
            return $"{{{string.Join(',', typeArguments.Skip(next - count).Take(count))}}}";
        });
    }

    public string GetPrimitiveType(PrimitiveTypeCode typeCode) => $"System.{typeCode}";

    public string GetGenericTypeParameter(object? genericContext, int index) => $"`{index}";

    public string GetGenericMethodParameter(object? genericContext, int index) => $"``{index}";

    public string GetSZArrayType(string elementType) => elementType + "[]";

    public string GetArrayType(string elementType, ArrayShape shape) => $"{elementType}[{string.Join(',', Enumerable.Repeat("0:", shape.Rank))}]";

    public string GetByReferenceType(string elementType) => elementType + "@";

    public string GetPointerType(string elementType) => elementType + "*";

    public string GetPinnedType(string elementType) => elementType;

    public string GetModifiedType(string modifier, string unmodifiedType, bool isRequired) => unmodifiedType;

    public string GetFunctionPointerType(MethodSignature<string> signature) => $"=FUNC:{signature.ReturnType}({string.Join(',', signature.ParameterTypes)})";

    public string GetTypeFromSpecification(MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
        reader.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

    private static string Qualified(string space, string name) => space.Length == 0 ? name : $"{space}.{name}";

    [GeneratedRegex(@"(?<=[^`])`\d+")]
    private static partial Regex Arity();
}
