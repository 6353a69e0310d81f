using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Python's <c>strftime</c> in the C locale.</summary>
internal static class PythonTime
{
    /// <summary>Formats a time.</summary>
    /// <exception cref="TemplateValueException">A directive is not supported.</exception>
    public static string Format(DateTimeOffset time, string format)
    {
        var result = new StringBuilder();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                result.Append(format[i]);
                continue;
            }

            bool isShort = format[++i] == '-' && i + 1 < format.Length;
            string text = Part(time, format[isShort ? ++i : i]);
            result.Append(isShort && text.Length > 1 ? text.TrimStart('0') is { Length: > 0 } digits ? digits : "0" : text);
        }

        return result.ToString();
    }

    private static string Part(DateTimeOffset time, char directive) => directive switch
    {
        '%' => "%",
        'Y' => time.Year.ToString(CultureInfo.InvariantCulture),
        'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
        'e' => $"{time.Day,2}",
        'f' => time.ToString("ffffff", CultureInfo.InvariantCulture),
        'w' => ((int)time.DayOfWeek).ToString(CultureInfo.InvariantCulture),
        'F' => time.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        'T' => time.ToString("HH:mm:ss", CultureInfo.InvariantCulture),
        _ => time.ToString(directive switch
        {
            'y' => "yy",
            'm' => "MM",
            'd' => "dd",
            'H' => "HH",
            'I' => "hh",
            'M' => "mm",
            'S' => "ss",
            'p' => "tt",
            'a' => "ddd",
            'A' => "dddd",
            'b' or 'h' => "MMM",
            'B' => "MMMM",
            _ => throw new TemplateValueException($"strftime_now: the directive %{directive} is not supported"),
        }, CultureInfo.InvariantCulture),
    };
}
