using Microsoft.AspNetCore.Http;

namespace ILGpuOptim.Cli.Serving;

/// <summary>A request that is refused, with the status of HTTP and the fields of OpenAI's error objects.</summary>
/// <param name="status">The status.</param>
/// <param name="message">What is wrong, and what to do.</param>
/// <param name="code">The code of the error; null for invalid requests.</param>
/// <param name="parameter">The field at fault; null if there is none.</param>
internal sealed class ApiException(int status, string message, string? code = null, string? parameter = null) : Exception(message)
{
    /// <summary>The status of HTTP.</summary>
    public int Status => status;

    /// <summary>The body of the response.</summary>
    public object Body => new { error = new { message = Message, type = status >= StatusCodes.Status500InternalServerError ? "server_error" : "invalid_request_error", param = parameter, code } };
}
