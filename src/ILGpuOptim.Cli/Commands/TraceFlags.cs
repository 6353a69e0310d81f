using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The flags <c>--trace</c> and <c>--trace-steps</c>.</summary>
internal sealed class TraceFlags
{
    private readonly Option<string?> file = new("--trace") { Description = "write the kernels of some steps to this file, for the viewers of Perfetto and Chrome" };
    private readonly Option<StepRange?> steps = new("--trace-steps") { Description = "steps that --trace records: A-B, or one; default: the third to the fifth step from the start", CustomParser = Parse };

    public IEnumerable<Option> All => [file, steps];

    /// <summary>The trace that the flags ask for; null for none.</summary>
    /// <exception cref="UserException"><c>--trace-steps</c> is given without <c>--trace</c>.</exception>
    public StepTrace? Read(ParseResult result) => result.GetValue(file) is { } path ? new StepTrace(path, result.GetValue(steps))
        : result.GetValue(steps) is null ? null
        : throw new UserException("--trace-steps: nothing is traced; add --trace FILE");

    private static StepRange? Parse(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        string[] ends = text.Split('-');
        if (ends.Length <= 2 && long.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out long first) && first > 0
            && long.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out long last) && last >= first && last - first < StepRange.MaxSteps)
            return new StepRange(first, last);
        result.AddError($"--trace-steps {text}: it must be a step, or the first and the last such as 10-12, from 1 on and at most {StepRange.MaxSteps} of them");
        return null;
    }
}
