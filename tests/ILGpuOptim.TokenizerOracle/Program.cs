using ILGpuOptim.TokenizerOracle;

if (args is not ["record", { } folder, ..])
{
    Console.Error.WriteLine("record GOLDENS [FAMILY...]   writes GOLDENS/recorded from GOLDENS/*.json with Hugging Face's library");
    return 1;
}

if (ReferenceTokenizer.WhyUnavailable is { } reason)
{
    Console.Error.WriteLine(reason);
    return 1;
}

foreach (string family in args.Length > 2 ? args[2..] : [.. GoldenCase.Families(folder)])
{
    var results = new Dictionary<string, Golden>();
    foreach (GoldenCase source in GoldenCase.Read(folder, family))
    {
        Console.Error.Write($"{family} {source.Name}");
        results.Add(source.Name, Record(source));
        Console.Error.WriteLine(results[source.Name].Refused is { } refused ? $": refused: {refused}" : "");
    }

    Golden.Write(folder, family, results);
}

return 0;

static Golden Record(GoldenCase source)
{
    if (source.Crashes)
        return new Golden { Refused = "the library ends the process" };
    using ReferenceTokenizer? tokenizer = ReferenceTokenizer.TryOpen(source.Json, out string? refusal);
    if (tokenizer is null)
        return new Golden { Refused = refusal };
    Golden golden = Golden.Of(source, tokenizer.Encode, tokenizer.Decode);
    golden.Special = source.Plain.Length == 0 ? null : tokenizer.EncodeWithSpecialTokens(source.Plain[0]);
    return golden;
}
