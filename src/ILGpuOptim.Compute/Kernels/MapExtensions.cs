namespace ILGpuOptim.Compute;

/// <summary>Launches of map rules with fewer than six operands.</summary>
public static class MapExtensions
{
    /// <summary>Runs <paramref name="rule"/> over every element of a rows × columns rectangle; see <see cref="Device.Map"/>.</summary>
    public static void Map<R>(this Device device, in R rule, long rows, long columns, in Operand a) where R : unmanaged, IMap1 =>
        device.Map(new Lift1<R>(rule), rows, columns, [a]);

    /// <summary>Runs <paramref name="rule"/> over every element of a rows × columns rectangle; see <see cref="Device.Map"/>.</summary>
    public static void Map<R>(this Device device, in R rule, long rows, long columns, in Operand a, in Operand b) where R : unmanaged, IMap2 =>
        device.Map(new Lift2<R>(rule), rows, columns, [a, b]);

    /// <summary>Runs <paramref name="rule"/> over every element of a rows × columns rectangle; see <see cref="Device.Map"/>.</summary>
    public static void Map<R>(this Device device, in R rule, long rows, long columns, in Operand a, in Operand b, in Operand c) where R : unmanaged, IMap3 =>
        device.Map(new Lift3<R>(rule), rows, columns, [a, b, c]);

    /// <summary>Runs <paramref name="rule"/> over every element of a rows × columns rectangle; see <see cref="Device.Map"/>.</summary>
    public static void Map<R>(this Device device, in R rule, long rows, long columns, in Operand a, in Operand b, in Operand c, in Operand d) where R : unmanaged, IMap4 =>
        device.Map(new Lift4<R>(rule), rows, columns, [a, b, c, d]);

    /// <summary>Runs <paramref name="rule"/> over every element of a rows × columns rectangle; see <see cref="Device.Map"/>.</summary>
    public static void Map<R>(this Device device, in R rule, long rows, long columns, in Operand a, in Operand b, in Operand c, in Operand d, in Operand e) where R : unmanaged, IMap5 =>
        device.Map(new Lift5<R>(rule), rows, columns, [a, b, c, d, e]);

    /// <summary>Runs <paramref name="rule"/> over every element of a rows × columns rectangle; see <see cref="Device.Map"/>.</summary>
    public static void Map<R>(this Device device, in R rule, long rows, long columns, in Operand a, in Operand b, in Operand c, in Operand d, in Operand e, in Operand f) where R : unmanaged, IMap6 =>
        device.Map(rule, rows, columns, [a, b, c, d, e, f]);

    /// <summary>A matrix product without an epilogue.</summary>
    public static void Gemm(this Device device, in GemmArguments arguments) =>
        device.Gemm(arguments, default(Lift1<KeepRule>), []);

    /// <summary>A matrix product whose epilogue changes C alone.</summary>
    public static void Gemm<R>(this Device device, in GemmArguments arguments, in R epilogue) where R : unmanaged, IMap1 =>
        device.Gemm(arguments, new Lift1<R>(epilogue), []);

    /// <summary>A matrix product whose epilogue has one operand beside C.</summary>
    public static void Gemm<R>(this Device device, in GemmArguments arguments, in R epilogue, in Operand b) where R : unmanaged, IMap2 =>
        device.Gemm(arguments, new Lift2<R>(epilogue), [b]);

    /// <summary>A matrix product whose epilogue has two operands beside C.</summary>
    public static void Gemm<R>(this Device device, in GemmArguments arguments, in R epilogue, in Operand b, in Operand c) where R : unmanaged, IMap3 =>
        device.Gemm(arguments, new Lift3<R>(epilogue), [b, c]);

    /// <summary>A matrix product whose epilogue has three operands beside C.</summary>
    public static void Gemm<R>(this Device device, in GemmArguments arguments, in R epilogue, in Operand b, in Operand c, in Operand d) where R : unmanaged, IMap4 =>
        device.Gemm(arguments, new Lift4<R>(epilogue), [b, c, d]);
}
