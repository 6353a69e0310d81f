using System.Buffers.Binary;
using System.Text;

namespace ILGpuOptim.Tests.Files;

/// <summary>Safetensors files made by hand, right or wrong.</summary>
internal static class SafetensorsBytes
{
    public static byte[] Make(string header, params byte[] data) => Make(Encoding.UTF8.GetBytes(header), data);

    public static byte[] Make(byte[] header, params byte[] data)
    {
        var file = new byte[8 + header.Length + data.Length];
        BinaryPrimitives.WriteInt64LittleEndian(file, header.Length);
        header.CopyTo(file, 8);
        data.CopyTo(file, 8 + header.Length);
        return file;
    }

    /// <summary>One tensor named x.</summary>
    public static byte[] One(string type, string shape, params byte[] data) =>
        Make($"{{\"x\":{{\"dtype\":\"{type}\",\"shape\":[{shape}],\"data_offsets\":[0,{data.Length}]}}}}", data);
}
