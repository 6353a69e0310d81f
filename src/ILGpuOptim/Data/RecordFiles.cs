namespace ILGpuOptim.Data;

/// <summary>Refuses files of records where plain text is read, because their syntax and the names of their fields would become text.</summary>
internal static class RecordFiles
{
    private const string Prepare = "prepare turns the field that holds the text into token files";

    /// <summary>Refuses a file whose name is that of a file of records.</summary>
    /// <exception cref="UserException">With what to do.</exception>
    public static void Refuse(string path)
    {
        string? problem = DocumentSource.KindOf(path) switch
        {
            ".jsonl" or ".ndjson" => $"JSON lines are not plain text, and the first one is no conversation (messages, prompt with completion, or chosen with rejected); {Prepare}",
            ".json" => $"JSON is not plain text; write one object a line (.jsonl), of which {Prepare}",
            ".csv" or ".tsv" => $"a table is not plain text; write one JSON object a line (.jsonl), of which {Prepare}",
            ".parquet" => $"Parquet is not plain text; {Prepare}",
            _ => null,
        };
        if (problem is not null)
            throw new UserException($"{path}: {problem}. To read the file as it stands, name it .txt");
    }
}
