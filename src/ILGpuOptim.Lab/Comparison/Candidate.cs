using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>An optimizer that takes part in a comparison.</summary>
/// <param name="Label">The name as given: <c>came</c>, or <c>apollo:rank=8</c> with settings of its own.</param>
/// <param name="Optimizer">Its settings; each run sets the learning rate.</param>
/// <param name="Rates">The learning rates to try, in ascending order.</param>
public sealed record Candidate(string Label, OptimizerSettings Optimizer, IReadOnlyList<double> Rates)
{
    /// <summary>File systems allow 255 characters; rates, seeds and the rest of a protocol's names need some of them.</summary>
    private const int LongestName = 120;

    private static readonly RangeAttribute RateRange = new(0) { MinimumIsExclusive = true };

    /// <summary>The learning rates that are tried by default: a third of the recommended one, that one, and three times that one.</summary>
    /// <exception cref="UserException">There is no such optimizer.</exception>
    public static IReadOnlyList<double> DefaultRates(string optimizer)
    {
        // Decimal factors keep the rates short: 0.001 / 3 is tried as 0.0003.
        double rate = Registry.Find(optimizer).Defaults.LearningRate;
        return [Rounded(rate / 3), rate, Rounded(rate * 3)];
    }

    private static double Rounded(double rate) => double.Parse(rate.ToString("E0", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    /// <summary>The label in a form that folder names allow; of a long one its beginning, and a hash of all of it.</summary>
    public string FileName
    {
        get
        {
            string name = string.Concat(Label.Select(c => char.IsAsciiLetterOrDigit(c) || c == '.' ? c : '-'));
            return name.Length <= LongestName ? name : $"{name[..(LongestName - 9)]}-{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Label)))[..8]}";
        }
    }

    /// <summary>Reads the candidates of a command line.</summary>
    /// <param name="optimizers">Names with commas between or apart; <c>name:setting=value</c> changes a setting for one of them.</param>
    /// <param name="rates">Rates for all, such as <c>1e-3,3e-3</c>, or for one, such as <c>came=1e-3,3e-3</c>.</param>
    /// <param name="start">The settings that all start from; its options and learning rate are for the optimizer that it names.</param>
    /// <param name="options">Options of every optimizer that has them; null: none.</param>
    /// <exception cref="UserException">A name, a setting or a number is wrong, or a candidate stands there twice.</exception>
    public static IReadOnlyList<Candidate> Parse(IEnumerable<string> optimizers, IEnumerable<string> rates, OptimizerSettings start, OptionValues? options = null)
    {
        string[] labels = [.. optimizers.SelectMany(list => Split(list, nameof(optimizers)))];
        if (labels.FirstOrDefault(label => Values.Parse(typeof(double), label) is not null) is { } number)
            throw UserException.NamingSettings($"{nameof(optimizers):setting}: {number} is no optimizer; {Values.WithoutCommas}");
        if (labels.Length == 0)
            throw UserException.NamingSettings($"{nameof(optimizers):setting} names no optimizer; give some of {string.Join(", ", Registry.Entries.Select(entry => entry.Name))}");
        List<Candidate> candidates = [.. labels.Select(label => Named(label, start, options ?? OptionValues.None))];
        labels = [.. candidates.Select(candidate => candidate.Label)];
        if (labels.GroupBy(label => label, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw UserException.NamingSettings($"{nameof(optimizers):setting}: {twice.Key} is named twice; name each once, or set them apart as in {twice.Key.Split(':')[0]}:weight_decay=0");
        if (candidates.GroupBy(candidate => candidate.Optimizer).FirstOrDefault(group => group.Count() > 1) is { } same)
            throw UserException.NamingSettings($"{nameof(optimizers):setting}: {string.Join(" and ", same.Select(candidate => candidate.Label))} are the same; leave one out");
        foreach (string argument in rates.OrderBy(argument => argument.Contains('=', StringComparison.Ordinal)))
        {
            int mark = argument.LastIndexOf('=');
            double[] grid = Grid(argument[(mark + 1)..], nameof(rates));
            string? whose = mark < 0 ? null : argument[..mark].Trim();
            int[] meant = [.. Enumerable.Range(0, candidates.Count).Where(i => whose is null || Is(candidates[i].Label, whose) || Is(candidates[i].Optimizer.Name, whose))];
            if (meant.Length == 0)
                throw UserException.NamingSettings($"{nameof(rates):setting} {argument}: there is no {whose} among the optimizers compared ({string.Join(", ", labels)})");
            foreach (int i in meant)
                candidates[i] = candidates[i] with { Rates = grid };
        }

        return candidates;
    }

    private static bool Is(string label, string other) => label.Equals(other, StringComparison.OrdinalIgnoreCase);

    /// <summary>The parts of a list. It may begin or end with a comma, as a part of "adamw, came" does; two adjacent ones leave out a name.</summary>
    private static string[] Split(string list, string setting)
    {
        string[] parts = list.Split(',', StringSplitOptions.TrimEntries);
        if (parts.Length > 2 && parts[1..^1].Contains(""))
            throw UserException.NamingSettings($"{setting:setting} {list}: nothing stands between two commas; name something there, or leave out a comma");
        return [.. parts.Where(part => part.Length > 0)];
    }

    private static double[] Grid(string list, string setting)
    {
        string[] words = Split(list, setting);
        if (words.Length == 0)
            throw UserException.NamingSettings($"{setting:setting} names no learning rate; give some such as 1e-3,3e-3, or came=1e-3,3e-3 for one optimizer");
        var grid = new SortedSet<double>();
        foreach (string word in words)
        {
            object? rate = Values.Parse(typeof(double), word);
            if (rate is null || !RateRange.Contains(rate))
                throw UserException.NamingSettings($"{setting:setting} {word}: {Values.RuleFor(typeof(double), RateRange, word)}");
            grid.Add((double)rate);
        }

        return [.. grid];
    }

    /// <summary>The settings of one optimizer: the shared options that it has, and those of its label. APOLLO-Mini ignores a shared rank.</summary>
    private static Candidate Named(string text, OptimizerSettings start, OptionValues options)
    {
        var label = OptimizerLabel.Parse(text);
        OptimizerSettings settings = start.For(label.Name);
        OptimizerEntry entry = Registry.Find(settings.Name);
        foreach ((string name, _) in settings.Options.Where(option => entry.OptionNamed(option.Key) is null).ToArray())
            settings = settings.Without(name);
        foreach ((string name, string value) in options.Where(option => entry.OptionNamed(option.Key) is not null && !(entry.Name == "apollo-mini" && option.Key == "rank")))
        {
            try
            {
                settings = settings.With(name, value);
            }
            catch (UserException e)
            {
                throw UserException.NamingSettings($"{entry.Name}: {e}", e);
            }
        }

        label = label with { Name = settings.Name };
        settings = label.ApplyTo(settings);
        try
        {
            settings.Check();
        }
        catch (UserException e)
        {
            throw new UserException($"{label}: {e.Message}", e);
        }

        return new Candidate(label.ToString(), settings, DefaultRates(settings.Name));
    }
}
