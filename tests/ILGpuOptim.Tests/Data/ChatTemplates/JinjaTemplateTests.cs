using System.Globalization;
using System.Text.Json;
using ILGpuOptim.Data.ChatTemplates;

namespace ILGpuOptim.Tests.Data.ChatTemplates;

/// <summary>Templates give what Python's jinja2 gave with the settings of transformers (<c>Goldens/chat-templates/make.py</c>).</summary>
public sealed class JinjaTemplateTests
{
    private static readonly JsonElement Golden = JsonDocument.Parse(File.ReadAllText(Goldens.Folder("chat-templates", "cases.json"))).RootElement;

    public static TheoryData<string> Names => [.. Golden.GetProperty("cases").EnumerateArray().Select(item => item.GetProperty("name").GetString()!)];

    [Theory]
    [MemberData(nameof(Names))]
    public void GivesTheOutputOfJinja2(string name)
    {
        JsonElement golden = Golden.GetProperty("cases").EnumerateArray().First(item => item.GetProperty("name").GetString() == name);
        string template = golden.TryGetProperty("template", out JsonElement text) ? text.GetString()! : File.ReadAllText(Goldens.Folder("chat-templates", golden.GetProperty("file").GetString()!));
        JsonElement expected = golden.GetProperty("output");
        if (expected.ValueKind == JsonValueKind.Null)
        {
            UserException error = Assert.Throws<UserException>(() => Render(template, golden.GetProperty("variables")));
            Assert.StartsWith("case: ", error.Message, StringComparison.Ordinal);
            return;
        }

        RenderedTemplate rendered = Render(template, golden.GetProperty("variables"));
        Assert.Equal(expected.GetProperty("text").GetString(), rendered.Text);
        Assert.Equal([.. expected.GetProperty("generated").EnumerateArray().Select(pair => (pair[0].GetInt32(), pair[1].GetInt32()))], rendered.Generated);
    }

    [Fact]
    public void GoldenCasesAreManyAndSomeAreRefused()
    {
        JsonElement[] cases = [.. Golden.GetProperty("cases").EnumerateArray()];
        Assert.InRange(cases.Length, 300, int.MaxValue);
        Assert.InRange(cases.Count(item => item.GetProperty("output").ValueKind == JsonValueKind.Null), 30, cases.Length / 2);
    }

    [Theory]
    [InlineData("a\n{% include 'x' %}", "line 2: the statement 'include' is not supported")]
    [InlineData("{{ 'a' }}\n\n{{ x | urlize }}", "line 3: the filter 'urlize' is not supported")]
    [InlineData("{{ x is escaped }}", "line 1: the test 'escaped' is not supported")]
    [InlineData("{% for x in y recursive %}{% endfor %}", "line 1: recursive loops are not supported")]
    [InlineData("{% macro f() %}{{ caller() }}{% endmacro %}", "line 1: the variable 'caller' of macros is not supported")]
    [InlineData("{{ '%d' % 3 }}", "line 1: formatting by % is not supported")]
    [InlineData("{{ f(*x) }}", "line 1: arguments after * are not supported")]
    [InlineData("{% if x %}\n{% if y %}", "line 2: the statement does not end with {% endif %}")]
    [InlineData("{{ strftime_now('%Q') }}", "line 1: strftime_now: the directive %Q is not supported")]
    [InlineData("{{ cycler(1) }}", "line 1: 'cycler' is undefined")]
    [InlineData("{{ range(1000000) }}", "line 1: the range has more than 100,000 elements")]
    [InlineData("{{ 'x' * 99999999 }}", "line 1: a product of 99999999 times 1 elements is too long")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "line 1: macros call each other more than 200 deep")]
    [InlineData("{{ 9223372036854775807 + 1 }}", "line 1: the result of + has more than 64 bits")]
    [InlineData("{% set x %}{% generation %}{% endgeneration %}{% endset %}", "line 1: {% generation %} within a macro or a set block is not supported")]
    public void WhatIsNotSupportedIsRefusedByNameAndLine(string template, string message)
    {
        UserException error = Assert.Throws<UserException>(() => Render(template, JsonDocument.Parse("{}").RootElement));
        Assert.StartsWith("case: " + message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DeepNestingIsRefused()
    {
        foreach (string template in (string[])[new string('(', 5000), string.Concat(Enumerable.Repeat("{% if x %}", 5000)), "{{ " + new string('-', 5000), "{{ " + string.Concat(Enumerable.Repeat("not ", 5000)), "{{ " + new string('[', 5000)])
            Assert.Throws<UserException>(() => JinjaTemplate.Parse("{{ " + template, "case"));
    }

    private static RenderedTemplate Render(string template, JsonElement variables) => JinjaTemplate.Parse(template, "case").Render(
        variables.EnumerateObject().Select(variable => KeyValuePair.Create(variable.Name, JinjaTemplate.FromJson(variable.Value))), new GoldenClock());

    private sealed class GoldenClock : TimeProvider
    {
        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.Parse(Golden.GetProperty("now").GetString()!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
    }
}
