using System.CommandLine;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The flags of sampling.</summary>
internal sealed class SamplingFlags
{
    private static readonly SamplingOptions Defaults = new();

    private readonly Option<double> temperature = Flag.For<double>("--temperature", "sampling temperature; 0: the most probable token each time", Defaults, nameof(Defaults.Temperature));
    private readonly Option<int> topK = Flag.For<int>("--top-k", "sample from the K most probable tokens; 0: from all", Defaults, nameof(Defaults.TopK));
    private readonly Option<double> topP = Flag.For<double>("--top-p", "nucleus sampling: sample from the most probable tokens with this total probability", Defaults, nameof(Defaults.TopP));
    private readonly Option<double> minP = Flag.For<double>("--min-p", "sample from tokens with at least this fraction of the highest probability", Defaults, nameof(Defaults.MinP));
    private readonly Option<double> penalty = Flag.For<double>("--repetition-penalty", "values above 1 make tokens that already occurred less probable", Defaults, nameof(Defaults.RepetitionPenalty));
    private readonly Option<ulong> seed = Flag.For<ulong>("--seed", "random seed; the same seed gives the same text", Defaults, nameof(Defaults.Seed));

    public IEnumerable<Option> All => [temperature, topK, topP, minP, penalty, seed];

    public SamplingOptions Read(ParseResult result) => new()
    {
        Temperature = result.GetValue(temperature),
        TopK = result.GetValue(topK),
        TopP = result.GetValue(topP),
        MinP = result.GetValue(minP),
        RepetitionPenalty = result.GetValue(penalty),
        Seed = result.GetValue(seed),
    };
}
