using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Xml.Linq;

namespace ILGpuOptim.PackageFiles;

/// <summary>Removes what is not public from a documentation file. The compiler documents internal members as well.</summary>
internal static class PublicDocumentation
{
    /// <summary>Keeps the documentation of members that a program outside the assembly can use.</summary>
    /// <param name="assembly">The assembly.</param>
    /// <param name="file">Its documentation, which is written anew.</param>
    public static void Filter(string assembly, string file)
    {
        using var portable = new PEReader(File.OpenRead(assembly));
        MetadataReader reader = portable.GetMetadataReader();
        HashSet<string> names = [.. reader.TypeDefinitions.Where(type => IsVisible(reader, type)).SelectMany(type => NamesOf(reader, type))];
        XDocument document = XDocument.Load(file, LoadOptions.PreserveWhitespace);
        XElement[] hidden = [.. document.Descendants("member").Where(member => !names.Contains(member.Attribute("name")!.Value))];
        if (hidden.Length == 0)
            return;
        foreach (XElement member in hidden)
        {
            if (member.PreviousNode is XText space)
                space.Remove();
            member.Remove();
        }

        document.Save(file, SaveOptions.DisableFormatting);
    }

    private static bool IsVisible(MetadataReader reader, TypeDefinitionHandle handle)
    {
        TypeDefinition type = reader.GetTypeDefinition(handle);
        return (type.Attributes & TypeAttributes.VisibilityMask) switch
        {
            TypeAttributes.Public => true,
            TypeAttributes.NestedPublic or TypeAttributes.NestedFamily or TypeAttributes.NestedFamORAssem => IsVisible(reader, type.GetDeclaringType()),
            _ => false,
        };
    }

    private static bool IsVisible(MetadataReader reader, MethodDefinitionHandle handle) =>
        !handle.IsNil && (reader.GetMethodDefinition(handle).Attributes & MethodAttributes.MemberAccessMask) is MethodAttributes.Public or MethodAttributes.Family or MethodAttributes.FamORAssem;

    /// <summary>The names of a type and of its visible members, as documentation files have them: <c>M:Name.Space.Type.Method(System.Int32)</c>.</summary>
    private static IEnumerable<string> NamesOf(MetadataReader reader, TypeDefinitionHandle handle)
    {
        var types = new DocumentationTypes();
        TypeDefinition type = reader.GetTypeDefinition(handle);
        string name = types.GetTypeFromDefinition(reader, handle, 0);
        yield return "T:" + name;
        foreach (FieldDefinitionHandle item in type.GetFields())
        {
            FieldDefinition field = reader.GetFieldDefinition(item);
            if ((field.Attributes & FieldAttributes.FieldAccessMask) is FieldAttributes.Public or FieldAttributes.Family or FieldAttributes.FamORAssem)
                yield return $"F:{name}.{reader.GetString(field.Name)}";
        }

        foreach (MethodDefinitionHandle item in type.GetMethods().Where(item => IsVisible(reader, item)))
        {
            MethodDefinition method = reader.GetMethodDefinition(item);
            string methodName = reader.GetString(method.Name);
            MethodSignature<string> signature = method.DecodeSignature(types, null);
            string arity = signature.GenericParameterCount > 0 ? $"``{signature.GenericParameterCount}" : "";
            string result = methodName is "op_Implicit" or "op_Explicit" ? $"~{signature.ReturnType}" : "";
            yield return $"M:{name}.{methodName.Replace('.', '#')}{arity}{Parameters(signature.ParameterTypes)}{result}";
        }

        foreach (PropertyDefinitionHandle item in type.GetProperties())
        {
            PropertyDefinition property = reader.GetPropertyDefinition(item);
            PropertyAccessors accessors = property.GetAccessors();
            if (IsVisible(reader, accessors.Getter) || IsVisible(reader, accessors.Setter))
                yield return $"P:{name}.{reader.GetString(property.Name)}{Parameters(property.DecodeSignature(types, null).ParameterTypes)}";
        }

        foreach (EventDefinitionHandle item in type.GetEvents())
        {
            EventDefinition declared = reader.GetEventDefinition(item);
            if (IsVisible(reader, declared.GetAccessors().Adder))
                yield return $"E:{name}.{reader.GetString(declared.Name)}";
        }
    }

    private static string Parameters(IReadOnlyCollection<string> types) => types.Count == 0 ? "" : $"({string.Join(',', types)})";
}
