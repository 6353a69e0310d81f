using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>
/// Python's operators on values of templates: null (None), bool, long, double, string, lists, tuples, dictionaries. Integers have 64 bits; what does not fit is an
/// error.
/// </summary>
internal static class TemplateOperators
{
    /// <summary>The most elements or characters that a product may have.</summary>
    private const long MaxLength = 1 << 24;

    /// <summary>The name of a value's type.</summary>
    public static string TypeOf(object? value) => value switch
    {
        null => "None",
        bool => "a Boolean",
        long => "an integer",
        double => "a float",
        string => "a string",
        TemplateTuple => "a tuple",
        List<object?> => "a list",
        TemplateDictionary => "a dictionary",
        TemplateIterator => "an iterator",
        TemplateUndefined => "undefined",
        TemplateFunction => "a function",
        TemplateNamespace => "a namespace",
        _ => "an object",
    };

    /// <summary>The truth of a value.</summary>
    public static bool IsTrue(object? value) => value switch
    {
        null or TemplateUndefined => false,
        bool flag => flag,
        long integer => integer != 0,
        double number => number != 0,
        string text => text.Length > 0,
        List<object?> list => list.Count > 0,
        TemplateDictionary dictionary => dictionary.Count > 0,
        _ => true,
    };

    /// <summary>The text of a value, as <c>str</c> gives it.</summary>
    public static string Text(object? value) => value is string text ? text : Represent(value);

    /// <summary>The text of a value within another one, as <c>repr</c> gives it.</summary>
    public static string Represent(object? value)
    {
        switch (value)
        {
            case null:
                return "None";
            case TemplateUndefined:
                return "";
            case bool flag:
                return flag ? "True" : "False";
            case long integer:
                return integer.ToString(CultureInfo.InvariantCulture);
            case double number:
                return PythonText.Of(number);
            case string text:
                return PythonText.Quote(text);
            case TemplateTuple tuple:
                return $"({string.Join(", ", tuple.Select(Element))}{(tuple.Count == 1 ? "," : "")})";
            case List<object?> list:
                return $"[{string.Join(", ", list.Select(Element))}]";
            case TemplateDictionary dictionary:
                return $"{{{string.Join(", ", dictionary.Select(pair => $"{Element(pair.Key)}: {Element(pair.Value)}"))}}}";
            default:
                throw new TemplateValueException($"{TypeOf(value)} cannot be printed");
        }

        static string Element(object? element) => element is TemplateUndefined ? "Undefined" : Represent(element);
    }

    /// <summary>Equality; numbers of different types may be equal.</summary>
    public static bool AreEqual(object? left, object? right) => (left, right) switch
    {
        (null, null) or (TemplateUndefined, TemplateUndefined) => true,
        (string a, string b) => a == b,
        (TemplateTuple a, TemplateTuple b) => AreAllEqual(a, b),
        (TemplateTuple, _) or (_, TemplateTuple) => false,
        (List<object?> a, List<object?> b) => AreAllEqual(a, b),
        (TemplateDictionary a, TemplateDictionary b) => a.Count == b.Count && a.All(pair => b.TryGet(pair.Key, out object? other) && AreEqual(pair.Value, other)),
        _ when TryInteger(left, out long a) && TryInteger(right, out long b) => a == b,
        _ when TryNumber(left, out double a) && TryNumber(right, out double b) => a == b,
        _ => ReferenceEquals(left, right),
    };

    /// <summary>The order of two values: negative, zero or positive; null if one is not a number.</summary>
    /// <exception cref="TemplateValueException">They have no order.</exception>
    public static int? Compare(object? left, object? right)
    {
        if (TryInteger(left, out long a) && TryInteger(right, out long b))
            return a.CompareTo(b);
        if (TryNumber(left, out double x) && TryNumber(right, out double y))
            return double.IsNaN(x) || double.IsNaN(y) ? null : x.CompareTo(y);
        if (left is string first && right is string second)
            return PythonText.Compare(first, second);
        if (left is List<object?> one && right is List<object?> two && left.GetType() == right.GetType())
        {
            for (int i = 0; i < Math.Min(one.Count, two.Count); i++)
            {
                if (!AreEqual(one[i], two[i]))
                    return Compare(one[i], two[i]);
            }

            return one.Count.CompareTo(two.Count);
        }

        throw Undefined(left, right) ?? new TemplateValueException($"{TypeOf(left)} and {TypeOf(right)} cannot be ordered");
    }

    /// <summary>The operator <c>in</c>.</summary>
    public static bool Contains(object? container, object? value) => container switch
    {
        string text => value is string part ? text.Contains(part, StringComparison.Ordinal) : throw new TemplateValueException($"in: a string contains strings, not {TypeOf(value)}"),
        TemplateDictionary dictionary => dictionary.TryGet(value, out _),
        _ => Items(container).Any(item => AreEqual(item, value)),
    };

    /// <summary>The elements of a value.</summary>
    /// <exception cref="TemplateValueException">It has none.</exception>
    public static IEnumerable<object?> Items(object? value) => value switch
    {
        string text => PythonText.Characters(text),
        List<object?> list => list,
        TemplateDictionary dictionary => dictionary.Keys,
        TemplateIterator iterator => iterator.Rest(),
        TemplateUndefined => [],
        _ => throw new TemplateValueException($"{TypeOf(value)} has no elements"),
    };

    /// <summary>The number of elements.</summary>
    /// <exception cref="TemplateValueException">It has none.</exception>
    public static long Length(object? value) => value switch
    {
        string text => PythonText.Length(text),
        List<object?> list => list.Count,
        TemplateDictionary dictionary => dictionary.Count,
        TemplateUndefined => 0,
        _ => throw new TemplateValueException($"{TypeOf(value)} has no length"),
    };

    /// <summary>An arithmetic operator.</summary>
    /// <exception cref="TemplateValueException">The values do not have it.</exception>
    public static object? Apply(string name, object? left, object? right)
    {
        try
        {
            if (Undefined(left, right) is { } error)
                throw error;
            if (name == "+" && left is string a && right is string b)
                return a + b;
            if (name == "+" && left is List<object?> first && right is List<object?> second && left.GetType() == right.GetType())
                return left is TemplateTuple ? new TemplateTuple(first.Concat(second)) : first.Concat(second).ToList();
            if (name == "*" && (left is string or List<object?> ? TryInteger(right, out long times) : TryInteger(left, out times) && right is string or List<object?>))
                return Repeat(left is string or List<object?> ? left : right, times);
            if (name == "%" && left is string)
                throw new TemplateValueException("formatting by % is not supported; join strings with ~");
            if (TryInteger(left, out long x) && TryInteger(right, out long y))
                return Integers(name, x, y);
            if (TryNumber(left, out double p) && TryNumber(right, out double q))
                return Numbers(name, p, q);
            throw new TemplateValueException($"{TypeOf(left)} {name} {TypeOf(right)} has no meaning{(name == "+" ? "; ~ joins texts of any type" : "")}");
        }
        catch (OverflowException)
        {
            throw new TemplateValueException($"the result of {name} has more than 64 bits");
        }
    }

    /// <summary>The negative of a number.</summary>
    public static object? Negate(object? value) => TryInteger(value, out long integer) ? Apply("-", 0L, integer) : value is double number ? (object)-number
        : throw Undefined(value, null) ?? new TemplateValueException($"{TypeOf(value)} has no negative");

    /// <summary>An integer or Boolean.</summary>
    public static bool TryInteger(object? value, out long integer)
    {
        integer = value switch { long number => number, bool flag => flag ? 1 : 0, _ => 0 };
        return value is long or bool;
    }

    /// <summary>A number.</summary>
    public static bool TryNumber(object? value, out double number)
    {
        number = value is double real ? real : TryInteger(value, out long integer) ? integer : 0;
        return value is double or long or bool;
    }

    /// <summary>An integer argument.</summary>
    public static long Integer(object? value, string name) =>
        TryInteger(value, out long integer) ? integer : throw new TemplateValueException($"{name} is {TypeOf(value)}; it must be an integer");

    /// <summary>A string argument.</summary>
    public static string String(object? value, string name) => value as string ?? throw new TemplateValueException($"{name} is {TypeOf(value)}; it must be a string");

    private static TemplateValueException? Undefined(object? left, object? right) => (left as TemplateUndefined ?? right as TemplateUndefined)?.Error();

    private static bool AreAllEqual(List<object?> left, List<object?> right) => left.Count == right.Count && left.Zip(right).All(pair => AreEqual(pair.First, pair.Second));

    private static object Repeat(object? value, long times)
    {
        long count = Math.Max(0, times), length = value is string text ? text.Length : ((List<object?>)value!).Count;
        if (length > 0 && count > MaxLength / length)
            throw new TemplateValueException($"a product of {count} times {length} elements is too long");
        if (value is string part)
            return new StringBuilder().Insert(0, part, (int)count).ToString();
        IEnumerable<object?> items = Enumerable.Repeat((List<object?>)value!, length == 0 ? 0 : (int)count).SelectMany(item => item);
        return value is TemplateTuple ? new TemplateTuple(items) : items.ToList();
    }

    private static object Integers(string name, long x, long y)
    {
        if (name == "/" || (name == "**" && y < 0))
            return Numbers(name, x, y);
        return WholeNumbers(name, x, y);
    }

    private static long WholeNumbers(string name, long x, long y) => name switch
    {
        "+" => checked(x + y),
        "-" => checked(x - y),
        "*" => checked(x * y),
        "//" => y == 0 ? throw ByZero() : checked(x / y) - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0),
        "%" => y == 0 ? throw ByZero() : y == -1 ? 0L : x % y is var rest && rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest,
        "**" => Power(x, y),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "unknown operator"),
    };

    private static long Power(long x, long y)
    {
        long result = 1;
        for (; y > 0 && (result != 0 && result != 1 || x is not (0 or 1)); y--)
        {
            if (x == -1)
                return y % 2 == 0 ? result : -result;
            result = checked(result * x);
        }

        return result;
    }

    private static double Numbers(string name, double p, double q) => name switch
    {
        "+" => p + q,
        "-" => p - q,
        "*" => p * q,
        "/" => q == 0 ? throw ByZero() : p / q,
        "//" => q == 0 ? throw ByZero() : Math.Floor(p / q),
        "%" => q == 0 ? throw ByZero() : p % q is var rest && rest != 0 && (rest < 0) != (q < 0) ? rest + q : rest,
        "**" => Math.Pow(p, q),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "unknown operator"),
    };

    private static TemplateValueException ByZero() => new("a division by zero");
}
