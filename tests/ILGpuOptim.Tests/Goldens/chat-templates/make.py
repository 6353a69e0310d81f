#!/usr/bin/python3
"""Records what Python's jinja2 makes of the templates in this folder and of the snippets below, with the settings of transformers:

    apt-get install python3-jinja2
    /usr/bin/python3 make.py > cases.json

Each case has the template (a file of this folder, or a text), the variables, and the output with the places of generation blocks, or null where jinja2 refuses.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2025, 3, 7, 14, 5, 9)


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}: marks the output of a block."""

    tags = {"generation"}

    def __init__(self, environment):
        super().__init__(environment)
        self.blocks, self.position = [], 0

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def mark(self, context, caller):
        return "\ue000" + caller() + "\ue001"


def fail(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def render(template, variables):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = NOW.strftime
    try:
        text = environment.from_string(template).render(**variables)
    except Exception as error:  # noqa: BLE001
        return None, str(error)
    places, output = [], ""
    for c in text:
        if c == "\ue000":
            places.append([len(output.encode("utf-16-le")) // 2, 0])
        elif c == "\ue001":
            places[-1][1] = len(output.encode("utf-16-le")) // 2
        else:
            output += c
    return {"text": output, "generated": places}, None


TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather of a \"city\"", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}, "required": ["city"]}}}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2, "exact": True, "unit": None, "scale": 1.5}}}
USER = {"role": "user", "content": "  Hello, <b>world</b>! \n"}
CONVERSATIONS = [
    [USER],
    [{"role": "system", "content": "Be brief."}, USER],
    [USER, {"role": "assistant", "content": "Hi 😀 there.  "}],
    [{"role": "system", "content": "Be brief. /no_think"}, USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi.\n"}, {"role": "user", "content": "日本?"}],
    [USER, {"role": "assistant", "content": "A"}, {"role": "user", "content": "B"}, {"role": "assistant", "content": "C"}],
    [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "{\"degrees\": 21}"}, {"role": "assistant", "content": "21 degrees."}],
    [USER, {"role": "assistant", "content": "Wait", "tool_calls": [CALL, CALL]}, {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}],
    [USER, USER],
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is it? "}]}],
    [{"role": "assistant", "content": "first"}],
]
VALUES = {
    "messages": CONVERSATIONS[4], "text": "  Ab cd, 'ef' \"gh\"\tij\u00a0 ", "plain": "hello wide world", "emoji": "a😀b", "numbers": [3, 1, 2, 2], "empty": [], "nothing": None, "yes": True,
    "pi": 3.25, "big": 1e16, "small": 0.00001234, "words": ["b", "A", "c"], "table": {"b": 1, "a": {"x": [1, None, True]}, "items": 5, "ü": "é\n"}, "people": [{"name": "Bo", "age": 3}, {"name": "al", "age": 2}, {"age": 7}],
}
SNIPPETS = """
{{ text }}|{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ text|trim }}|{{ plain.strip('hd') }}
{{ text|length }} {{ emoji|length }} {{ emoji[1] }} {{ emoji[::-1] }} {{ emoji[1:] }} {{ emoji[-1] }} {{ emoji[5]|default('none') }} {{ plain[2:-2:3] }} {{ plain[-3:] }} {{ plain[:100] }} {{ plain[100:] }}x
{{ numbers[1:] }} {{ numbers[::-1] }} {{ numbers[-2] }} {{ numbers[0] }} {{ numbers[9] }}! {{ numbers[::2] }} {{ numbers[3:1:-1] }} {{ (1,2,3)[1:] }}
{{ table }} {{ words }} {{ nothing }} {{ yes }} {{ pi }} {{ big }} {{ small }} {{ (1,) }} {{ () }} {{ (1, 'a') }} {{ {'k': "it's", 'q': 'say "x"', 'n': 'a\\n\\\\'} }}
{{ 1e16 }} {{ 123456789012345680.0 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.5e300 }} {{ 100.0 }} {{ 1/3 }} {{ 2.5e-7 }} {{ -0.0 }} {{ 1_000 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 + 2 * 3 - 4 }} {{ -2 ** 2 }} {{ +3 }} {{ - - 3 }} {{ true + 1 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'x'] }} {{ 'ab' * 3 }} {{ [0] * 2 }} {{ 'a' + 'b' }} {{ [1] + [2] }} {{ 1 ~ 2 * 3 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 1 }} {{ [1,2] == [1,2] }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1.0} }} {{ none == none }} {{ undefined_a == undefined_b }} {{ 1 != 2 }} {{ [1,2] < [1,3] }}
{{ 'a' in 'cat' }} {{ 'x' not in 'cat' }} {{ 1 in numbers }} {{ 'b' in table }} {{ 'x' in undefined_name }} {{ not 'a' in 'cat' }} {{ none in [none] }} {{ 'role' in messages[0] }}
{{ yes and 'x' }} {{ 0 or 'y' }} {{ '' or [] or 'z' }} {{ not none }} {{ not '' and 1 }} {{ 1 if yes else 2 }} {{ 1 if nothing }}| {{ 'a' if false else 'b' if true else 'c' }}
{{ undefined_name }}| {{ undefined_name|default('d') }} {{ nothing|default('d') }} {{ nothing|default('d', true) }} {{ ''|d('e', boolean=true) }} {{ undefined_name is defined }} {{ undefined_name is undefined }} {{ table.zzz is defined }} {{ table['zzz'] is defined }}
{{ undefined_name.x }}
{{ undefined_name + 'x' }}
{{ undefined_name() }}
{{ table.b }} {{ table['b'] }} {{ table.items()|list }} {{ table['items'] }} {{ table.get('q', 3) }} {{ table.get('q') }} {{ table.get('b') }} {{ table.keys()|list }} {{ table.values()|list|length }} {{ table.a.x[2] }} {{ table['a']['x'][0] }}
{{ table|tojson }} {{ table|tojson(indent=2) }} {{ table|tojson(ensure_ascii=true, sort_keys=true) }} {{ numbers|tojson(separators=(',', ':')) }} {{ pi|tojson }} {{ big|tojson }} {{ "a\\"<'\\x01"|tojson }} {{ []|tojson(indent=2) }} {{ {}|tojson }} {{ (1, 2)|tojson }} {{ none|tojson }}
{{ undefined_name|tojson }}
{{ plain|upper }} {{ 'ABC'|lower }} {{ plain|capitalize }} {{ plain|title }} {{ "it's o-k (no)"|title }} {{ plain.title() }} {{ "it's o-k".title() }} {{ plain.capitalize() }} {{ plain.upper() }} {{ 'X'.lower() }}
{{ plain|replace('o', '0') }} {{ plain|replace('o', '0', 1) }} {{ plain.replace('l', 'L', 2) }} {{ 'ab'.replace('', '-') }} {{ 12|replace(1, 3) }} {{ plain.split() }} {{ plain.split(' ', 1) }} {{ 'a,b,,c'.split(',') }} {{ '  a  b '.split() }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.split(none, 1) }} {{ 'a</t>b'.split('</t>')[-1] }}
{{ plain.startswith('he') }} {{ plain.endswith(('x', 'ld')) }} {{ plain.find('w') }} {{ plain.rfind('o') }} {{ emoji.find('b') }} {{ plain.find('zz') }} {{ plain.count('o') }} {{ 'aXbX'.partition('X') }} {{ 'aXbX'.rpartition('X') }} {{ 'ab'.partition('-') }} {{ ','.join(words) }} {{ 'pre-x'.removeprefix('pre-') }} {{ 'x.txt'.removesuffix('.txt') }}
{{ 'a\\nb\\r\\nc'.splitlines() }} {{ '12'.isdigit() }} {{ 'a1'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ ''.isdigit() }} {{ 'AB1'.isupper() }} {{ 'aB'.islower() }} {{ '{} and {x}{{}}'.format(1, x='y') }} {{ '{1}{0}'.format('a', 'b') }}
{{ words|join }} {{ words|join(', ') }} {{ people|join('/', attribute='age') }} {{ numbers|join('+') }} {{ ''|join('x') }} {{ 'abc'|join('-') }}
{{ words|sort }} {{ words|sort(reverse=true) }} {{ words|sort(case_sensitive=true) }} {{ numbers|sort }} {{ people[:2]|sort(attribute='name')|map(attribute='age')|list }} {{ numbers|unique|list }} {{ ['a', 'A', 'b']|unique|list }} {{ table|dictsort|first }} {{ {'b': 1, 'A': 2}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(by='value') }} {{ {'b': 1, 'A': 2}|dictsort(true) }}
{{ numbers|map('string')|list }} {{ words|map('upper')|join(' ') }} {{ people|map(attribute='name', default='?')|list }} {{ words|map('replace', 'A', 'z')|list }} {{ numbers|select('odd')|list }} {{ numbers|reject('odd')|list }} {{ numbers|select('gt', 1)|list }} {{ [0, 1, '']|select|list }} {{ people|selectattr('name')|list|length }} {{ people|selectattr('age', 'ge', 3)|map(attribute='age')|list }} {{ people|rejectattr('name', 'defined')|list }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|selectattr('role', 'in', ['user'])|list|length }}
{{ 'yes' if messages|selectattr('role', 'equalto', 'nobody') else 'no' }} {{ 'yes' if messages|selectattr('role', 'equalto', 'nobody')|list else 'no' }}
{% set g = numbers|select('odd') %}{% for x in g %}{{ x }}{% endfor %}-{% for x in g %}{{ x }}{% endfor %}
{{ numbers|first }} {{ numbers|last }} {{ empty|first }}| {{ empty|last }}| {{ 'ab'|first }} {{ numbers|sum }} {{ people|sum(attribute='age') }} {{ numbers|max }} {{ numbers|min }} {{ words|max }} {{ words|min }} {{ empty|max }}| {{ numbers|reverse|list }} {{ 'abc'|reverse }} {{ numbers|length }} {{ table|length }} {{ numbers|count }} {{ 'ab'|list }} {{ table|list }} {{ table|items|list }} {{ undefined_name|items|list }} {{ undefined_name|length }}
{{ '3'|int }} {{ '3.7'|int }} {{ 'x'|int }} {{ 'x'|int(9) }} {{ 3.9|int }} {{ '2.5'|float }} {{ 'x'|float }} {{ 3|float }} {{ -3|abs }} {{ 2.5|round }} {{ 3.14159|round(2) }} {{ 2.1|round(method='ceil') }} {{ 2.9|round(0, 'floor') }} {{ 3|round }} {{ 5|string }} {{ 'x'|safe }} {{ ' 7 '|int }}
{{ plain|indent }}|{{ 'a\\nb\\n\\nc'|indent(2) }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent(2, blank=true) }}|{{ 'a\\nb'|indent('> ') }}
{{ 'a' is string }} {{ 1 is string }} {{ 1 is number }} {{ true is number }} {{ true is integer }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ {} is mapping }} {{ [] is mapping }} {{ [] is sequence }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ {} is sequence }} {{ none is none }} {{ nothing is not none }} {{ 3 is odd }} {{ 3 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 'a' is eq 'a' }} {{ 1 is sameas 1 }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 'a' is in 'abc' }} {{ 'a' is lower }} {{ 'A' is upper }} {{ range is callable }} {{ 1 is ne 2 }} {{ 1 is lt 2 }}
{{ 1 is defined and 2 is defined }} {{ 'x' if nothing is none else 'y' }} {{ -1|abs }} {{ 'a'|upper ~ 'b' }} {{ ('a' ~ 'b')|upper }} {{ numbers|length - 1 }} {{ numbers|length > 3 }} {{ not numbers|length }} {{ 'a' 'b' "c" }} {{ numbers.0 }} {{ {'a': {'b': 1}}.a.b }} {{ [1,2,][1] }} {{ {'a':1,}['a'] }}
{% for x in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('p', 'q') }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}
{% for x in numbers if x > 1 %}{{ loop.index }}:{{ x }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %} {% for x in empty %}{% else %}none{% endfor %} {% for x in numbers if x > 9 %}{{ x }}{% else %}none{% endfor %}
{% for k, v in table.items() %}{{ k }}={{ v }};{% endfor %} {% for k in table %}{{ k }}{% endfor %} {% for (a, b) in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %} {% for c in 'a😀' %}[{{ c }}]{% endfor %} {% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 1, -2) %}{{ i }}{% endfor %} {% for x in 1, 2 %}{{ x }}{% endfor %} {% for x in undefined_name %}x{% endfor %}
{% for x in numbers %}{% if x == 1 %}{% continue %}{% endif %}{% if loop.index == 4 %}{% break %}{% endif %}{{ x }}{% endfor %} {% for x in [1,1,2] %}{{ loop.changed(x) }}{% endfor %} {% for a in [1,2] %}{% for b in [1,2] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }} {% set ns = namespace(n=0, m='a') %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns.m }}{{ ns.z }} {% if true %}{% set y = 2 %}{% endif %}{{ y }} {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set t = 1, %}{{ t }}
{% set x %}a {{ 1 + 1 }}{% endset %}[{{ x }}] {% set y | upper | replace('A', 'q') %} abc{% endset %}[{{ y }}]
{% macro f(a, b='x', c=b ~ '!') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, 2) }} {{ f(b=3, a=4) }} {{ f() }} {% set r = f('q') %}{{ r|upper }} {% set z = 5 %}{% macro g() %}{{ z }}{% set z2 = 1 %}{% endmacro %}{{ g() }}{{ z2 }} {% macro h(n) %}{{ n }}{% if n > 0 %}{{ h(n - 1) }}{% endif %}{% endmacro %}{{ h(3) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=1) }}
{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %a %B %j %y %p %I %%') }} {{ strftime_now('%-d/%-m') }}
{{ raise_exception('no') }}
{{ 'a' if numbers.append(1) else 'b' }}
{{ ''.__class__ }}
{{ 1 / 0 }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 'a' < 1 }}
{{ none|length }}
{{ 1 in 'abc' }}
{% for x in 5 %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set numbers.x = 1 %}
{% include 'x' %}
{{ x|nofilter }}
{{ x is notest }}
{% if %}{% endif %}
{% if x %}
{% endfor %}
{{ x
{# never ends
{{ 'a }}
{{ 1 2 }}
{{ [1, 2 }}
{% for x %}{% endfor %}
{{ a.b.c.d }}
{{ f(1 }}
{{ 'x' is not string }} {{ not 'x' is string }} {{ 1 is not none and true }} {{ (1 is none) or 2 }} {{ 'a' is string and 'b' is string }}
{%- if true -%} a {%- endif -%} b {{- ' c ' -}} d {# note #} e {#- note -#} f
{% raw %}{{ x }}{% if %}{% endraw %} {%- raw -%}  {{ y }}  {%- endraw -%}  z
{{ '\\x41\\u00e9\\U0001F600\\101\\q\\'' }} {{ "a\\tb" }} {{ '\\\\n' }}
{{ {'a': 1}['a'] }} {{ {1: 'x', true: 'y'} }} {{ {1.0: 'x'}[1] }} {{ dict(a=1, b=2) }} {{ dict({'a': 1}, c=3) }} {{ {'a': 1}.items()|list }} {{ [1, 2].index(2) }} {{ [1, 1].count(1) }} {{ {'a': 1}.copy() }}
{{ 'x' if 'thing' in table else table.b if table.b is defined else 0 }} {{ (messages|last).role }} {{ messages[-1]['content'] }} {{ (messages|map(attribute='role')|list)[0] }} {{ messages[0].content is string }}
{% set messages = messages[1:] %}{{ messages|length }} {% for message in messages %}{% set content = message.content %}{{ content }}{% endfor %}{{ content is defined }}
{% for m in messages %}{{ m.role }}{% generation %}[{{ m.content }}]{% endgeneration %};{% endfor %}
{%- generation -%} a {{ 1 }} {%- endgeneration %} b {% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}
""".strip("\n").split("\n")
BLOCKS = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%+ if true %}\n  b\n  {% endif +%}\nc\n\n",
    "  {# c #}\n  {{ 1 }}\n  {#- c +#}\n x {% if true %} y {% endif %} \n",
    "\n\n{% for x in [1, 2] %}\n\t {% if x == 1 %}\n  one\n {% else %}\n  {{ x }}\n\t{% endif %}\n{% endfor %}\n\n",
    "x\r\n{% if true %}\r\ny\r{% endif %}\r\n",
    "{% if true -%}\n   a\n{%- else %}\n b\n{% endif -%}\n\n c",
    "{{ 'a' -}}\n  b\n  {{- 'c' }}\nd\n   {%- if true %}  e{% endif %}\n",
    "{% raw %}\n  a\n  {% endraw %}\n b",
    "  {% set x = 1 %}  {% set y = 2 %}\n{{ x }}{{ y }}\n",
    "{%- macro f(x) %}\n<{{ x }}>\n{%- endmacro %}\n{{ f(1) }}\n{{ f(2) }}\n",
    "{{ {'a': {'b': 1}} }}{{ '}}' }}{{ '%}' }}{% if '%}' %}x{% endif %}",
    "{{ 1 }}\n{{ 2 }}\n\n",
    "{% set x = [\n  1,\n  2,\n] %}{{ x }}\n{%\n if x\n%}\ny{% endif %}",
    "#{ a } {a} { { % } }} %} #}\n",
    "",
    "\n",
]


def main():
    cases = []

    def add(name, text, variables, **case):
        output, error = render(text, variables)
        cases.append({"name": name, **case, "variables": variables, "output": output, **({"error": error} if error else {})})

    for file in sorted(pathlib.Path(__file__).parent.glob("*.jinja")):
        text = file.read_bytes().decode()
        for i, messages in enumerate(CONVERSATIONS):
            for prompt in [False, True]:
                variables = {"messages": messages, "add_generation_prompt": prompt, **TOKENS}
                if i == 4:
                    variables["enable_thinking"] = False
                if i == 5:
                    variables["tools"] = [TOOL, TOOL]
                add(f"{file.stem} {i} {prompt}", text, variables, file=file.name)
    for i, snippet in enumerate(SNIPPETS + BLOCKS):
        add(f"snippet {i}", snippet, VALUES if i < len(SNIPPETS) else {}, template=snippet)
    json.dump({"jinja2": jinja2.__version__, "now": NOW.isoformat(), "cases": cases}, sys.stdout, ensure_ascii=False, indent=0)


main()
