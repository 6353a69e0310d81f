"""Writes unicode.bin, the tables that UnicodeData.cs reads, from the Unicode Character Database.

    python3 make-unicode.py FOLDER    # FOLDER holds UnicodeData.txt, Scripts.txt, ...: Debian's package unicode-data 16.0.0

The file is a zlib stream of numbers in base 128, low groups first, as in Protocol Buffers; z(x) marks a signed number in zigzag form.
  name tables      the names of general categories, of scripts and of versions: each a count, then length and ASCII characters
  run tables       category, script, version of first assignment, combining class, flags: a count of runs, then for each run the distance of
                   its start from the one before and its value
  simple mappings  lower case, simple case folding: a count, then distance of the code point, z(target - code point)
  full foldings    foldings to several characters: a count, then distance, count of characters, the characters
  decompositions   a count, then distance, 2 * count of characters + (1 when only compatible), z(character - code point) each
  exclusions       code points that composition never yields: a count, then distances
"""
import pathlib
import sys
import zlib

folder = pathlib.Path(sys.argv[1])
LIMIT = 0x110000
out = bytearray()


def number(value):
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def signed(value):
    number(2 * value if value >= 0 else -2 * value - 1)


def names(values):
    number(len(values))
    for value in values:
        number(len(value))
        out.extend(value.encode("ascii"))


def runs(values):
    starts = [i for i in range(LIMIT) if i == 0 or values[i] != values[i - 1]]
    number(len(starts))
    previous = 0
    for start in starts:
        number(start - previous)
        number(values[start])
        previous = start


def entries(table, write):
    number(len(table))
    previous = 0
    for point in sorted(table):
        number(point - previous)
        write(point, table[point])
        previous = point


def lines(name):
    for line in (folder / name).read_text("utf-8").splitlines():
        fields = [field.strip() for field in line.split("#")[0].split(";")]
        if fields[0]:
            yield fields


def span(field):
    first, _, last = field.partition("..")
    return range(int(first, 16), int(last or first, 16) + 1)


categories, classes, lower, decompositions = ["Cn"] * LIMIT, [0] * LIMIT, {}, {}
first = None
for fields in lines("UnicodeData.txt"):
    point = int(fields[0], 16)
    if fields[1].endswith(", First>"):
        first = point
        continue
    for i in range(first if fields[1].endswith(", Last>") else point, point + 1):
        categories[i], classes[i] = fields[2], int(fields[3])
    if fields[5]:
        parts = fields[5].split()
        compatible = parts[0].startswith("<")
        decompositions[point] = (compatible, [int(part, 16) for part in parts[compatible:]])
    if fields[13]:
        lower[point] = int(fields[13], 16)

FLAGS = {"Alphabetic": 1, "Uppercase": 2, "Lowercase": 4, "White_Space": 8, "Join_Control": 16}
flags, scripts, versions, excluded = [0] * LIMIT, ["Unknown"] * LIMIT, ["unassigned"] * LIMIT, {}
for name in ("PropList.txt", "DerivedCoreProperties.txt"):
    for fields in lines(name):
        for i in span(fields[0]):
            flags[i] |= FLAGS.get(fields[1], 0)
for fields in lines("Scripts.txt"):
    for i in span(fields[0]):
        scripts[i] = fields[1]
for fields in lines("DerivedAge.txt"):
    for i in span(fields[0]):
        versions[i] = fields[1]
for fields in lines("DerivedNormalizationProps.txt"):
    if fields[1] == "Full_Composition_Exclusion":
        excluded.update((i, None) for i in span(fields[0]))
simple, full = {}, {}
for fields in lines("CaseFolding.txt"):
    if fields[1] in "CS":
        simple[int(fields[0], 16)] = int(fields[2], 16)
    elif fields[1] == "F":
        full[int(fields[0], 16)] = [int(part, 16) for part in fields[2].split()]

tables = [sorted(set(categories)), sorted(set(scripts)), sorted(set(versions), key=lambda v: [int(n) for n in v.split(".")] if v[0].isdigit() else [99])]
for table in tables:
    names(table)
for table, values in zip(tables, (categories, scripts, versions)):
    index = {value: i for i, value in enumerate(table)}
    runs([index[value] for value in values])
runs(classes)
runs(flags)
for mapping in (lower, simple):
    entries(mapping, lambda point, target: signed(target - point))


def several(_, characters):
    number(len(characters))
    for character in characters:
        number(character)


def decomposition(point, value):
    number(2 * len(value[1]) + value[0])
    for character in value[1]:
        signed(character - point)


entries(full, several)
entries(decompositions, decomposition)
entries(excluded, lambda point, _: None)
target = pathlib.Path(__file__).with_name("unicode.bin")
target.write_bytes(zlib.compress(bytes(out), 9))
print(target, len(out), "->", target.stat().st_size, "bytes")
