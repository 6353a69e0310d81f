namespace ILGpuOptim;

/// <summary>
/// A mistake of the user, or of a file: the message says what, where, and what to do, and needs no stack trace.
/// </summary>
/// <param name="message">For people.</param>
/// <param name="inner">What went wrong underneath.</param>
public class UserException(string message, Exception? inner = null) : Exception(message, inner);
