using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>The tokens of a model and their ids, which may have gaps. Memory depends on the number of tokens, not on the largest id.</summary>
internal sealed class Vocabulary
{
    /// <summary>The upper limit of ids (2²⁴): a damaged id must not require an embedding matrix of terabytes.</summary>
    public const int IdLimit = 1 << 24;

    private readonly Dictionary<string, int> ids = [];
    private readonly Dictionary<int, string> tokens = [];
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup;

    /// <summary>Creates a vocabulary.</summary>
    /// <param name="entries">The tokens and their ids.</param>
    /// <param name="source">The file and the position in it, for messages.</param>
    /// <exception cref="UserException">An id is out of range, or a token or an id appears twice.</exception>
    public Vocabulary(IEnumerable<KeyValuePair<string, int>> entries, string source)
    {
        foreach ((string token, int id) in entries)
        {
            CheckId(id, token, source);
            if (!ids.TryAdd(token, id))
                throw new UserException($"{source}: the token \"{token}\" appears twice; remove one of the two");
            if (!tokens.TryAdd(id, token))
                throw new UserException($"{source}: the tokens \"{tokens[id]}\" and \"{token}\" have the same id {id}; give each an id of its own");
            Size = Math.Max(Size, id + 1);
        }

        lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>The vocabulary size: all ids are below it.</summary>
    public int Size { get; }

    /// <summary>The tokens and their ids, in the order of the file.</summary>
    public IReadOnlyDictionary<string, int> Entries => ids;

    /// <summary>Reads the field <c>vocab</c> of a model: an object that maps tokens to ids.</summary>
    public static Vocabulary Read(JsonFields model)
    {
        JsonElement vocabulary = model.Element("vocab") ?? throw model.Error("vocab", "is missing");
        if (vocabulary.ValueKind != JsonValueKind.Object)
            throw model.Error("vocab", $"is {JsonFields.Describe(vocabulary)}; it must be an object of tokens and ids");
        return new Vocabulary(Entries(), $"{model.Source}: {model.Path}.vocab");

        IEnumerable<KeyValuePair<string, int>> Entries()
        {
            foreach (JsonProperty entry in vocabulary.EnumerateObject())
            {
                string token;
                try
                {
                    token = entry.Name;
                }
                catch (InvalidOperationException e)
                {
                    throw new UserException($"{model.Source}: {model.Path}.vocab has a token with half a surrogate pair; tokens must be text", e);
                }

                if (entry.Value.ValueKind != JsonValueKind.Number || !entry.Value.TryGetInt32(out int id))
                    throw model.Error("vocab", $"gives \"{token}\" the id {JsonFields.Describe(entry.Value)}; ids are integers from 0 to {IdLimit - 1}");
                yield return new(token, id);
            }
        }
    }

    /// <summary>Throws if an id is negative or not below <see cref="IdLimit"/>.</summary>
    public static void CheckId(int id, string token, string source)
    {
        if (id is < 0 or >= IdLimit)
            throw new UserException($"{source}: \"{token}\" has the id {id}; ids are integers from 0 to {IdLimit - 1}");
    }

    /// <summary>The id of a token; null if there is no such token.</summary>
    public int? IdOf(ReadOnlySpan<char> token) => lookup.TryGetValue(token, out int id) ? id : null;

    /// <summary>The token of an id; null if the id has none.</summary>
    public string? TokenOf(int id) => tokens.GetValueOrDefault(id);
}
