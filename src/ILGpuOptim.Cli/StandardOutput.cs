using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Cli;

/// <summary>The reader of the output pipe has exited.</summary>
internal sealed class ClosedOutputException() : IOException("the output was closed");

/// <summary>
/// Standard output whose writes fail on a closed pipe and on a full disk. .NET's console ignores a closed pipe, so a command would run to its end without
/// output. A closed terminal is not an error: SIGHUP ends the process, unless nohup started it.
/// </summary>
internal sealed class StandardOutput : Stream
{
    private const int Interrupted = 4, BrokenPipe = 32;

    private readonly Stream? terminal = Console.IsOutputRedirected ? null : Console.OpenStandardOutput();

    /// <summary>Installs it as the console's writer. On Windows, the console's own writers remain, with UTF-8 instead of the console's code page.</summary>
    public static void Install()
    {
        var encoding = new UTF8Encoding(false);
        if (!OperatingSystem.IsWindows())
        {
            Console.SetOut(new StreamWriter(new StandardOutput(), encoding) { AutoFlush = true });
            return;
        }

        Console.OutputEncoding = encoding;
        if (Console.IsInputRedirected)
            Console.InputEncoding = encoding;
    }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (terminal is not null)
        {
            try
            {
                terminal.Write(buffer);
            }
            catch (IOException)
            {
                // The terminal is gone.
            }

            return;
        }

        while (!buffer.IsEmpty)
        {
            nint written = Write(1, ref MemoryMarshal.GetReference(buffer), buffer.Length);
            if (written >= 0)
            {
                buffer = buffer[(int)written..];
                continue;
            }

            int error = Marshal.GetLastPInvokeError();
            if (error == BrokenPipe)
                throw new ClosedOutputException();

            // A non-blocking pipe is full.
            if (error == (OperatingSystem.IsLinux() ? 11 : 35))
                Thread.Sleep(1);
            else if (error != Interrupted)
                throw new IOException($"the output cannot be written: {Marshal.GetPInvokeErrorMessage(error)}");
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush() => terminal?.Flush();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    [DllImport("libc", EntryPoint = "write", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern nint Write(int handle, ref byte bytes, nint count);
}
