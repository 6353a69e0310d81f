using System.Diagnostics.CodeAnalysis;

// Settings, configurations and options are read and written by reflection over their properties. ILLink.Descriptors.xml keeps these types in trimmed
// programs; those of other assemblies are named by the code that registers them. What needs dynamic code (IL3050) or the general serializer (IL2026) is not suppressed.
[module: UnconditionalSuppressMessage("Trimming", "IL2067", Scope = "module", Justification = "kept by ILLink.Descriptors.xml")]
[module: UnconditionalSuppressMessage("Trimming", "IL2070", Scope = "module", Justification = "kept by ILLink.Descriptors.xml")]
[module: UnconditionalSuppressMessage("Trimming", "IL2072", Scope = "module", Justification = "kept by ILLink.Descriptors.xml")]
[module: UnconditionalSuppressMessage("Trimming", "IL2075", Scope = "module", Justification = "kept by ILLink.Descriptors.xml")]
[module: UnconditionalSuppressMessage("Trimming", "IL2077", Scope = "module", Justification = "kept by ILLink.Descriptors.xml")]
