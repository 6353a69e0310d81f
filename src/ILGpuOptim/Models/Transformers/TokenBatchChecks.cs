using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Checks a batch against a model.</summary>
internal static class TokenBatchChecks
{
    /// <summary>The tokens of each sequence (the decoder's where there is an encoder), after everything was checked.</summary>
    /// <remarks>Only a table of positions limits the length: rotary and relative positions go on beyond <c>max_position_embeddings</c>.</remarks>
    /// <exception cref="ArgumentException">Parts do not fit together, or sequences are longer than a table of positions.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An id lies outside its table.</exception>
    public static int LengthFor(this in TokenBatch batch, Transformer model)
    {
        TransformerDescription description = model.Description;
        bool hasTable = (description.Embedding.Positions ?? description.Encoder?.Embedding.Positions) is not null;
        int most = hasTable ? model.Config.ContextLength : int.MaxValue, count = batch.Tokens.Length;
        int length = Length(batch.Tokens, batch.Sequences, "tokens", most, description.VocabularySize);
        Part(batch.Segments, "segments", count);
        Part(batch.Mask, "mask values", count);
        Part(batch.Positions, "positions", count);
        Part(batch.Documents, "document numbers", count);
        if (model.HasEncoder)
        {
            if (batch.DecoderTokens.IsEmpty && count > 0)
                throw new ArgumentException($"{model.Config.Family} has an encoder and a decoder; the batch needs {nameof(TokenBatch.DecoderTokens)} beside the encoder's {nameof(TokenBatch.Tokens)}", nameof(batch));
            if (batch.Tokens.IsEmpty && !batch.DecoderTokens.IsEmpty)
                throw new ArgumentException($"the batch has {batch.DecoderTokens.Length} decoder tokens, but no {nameof(TokenBatch.Tokens)} for the encoder of {model.Config.Family} to read; give each sequence at least one", nameof(batch));
            if (!batch.Segments.IsEmpty || !batch.Positions.IsEmpty || !batch.Documents.IsEmpty)
                throw new ArgumentException($"segments, positions and documents are for models of one stack; {model.Config.Family} has an encoder and a decoder", nameof(batch));
            return Length(batch.DecoderTokens, batch.Sequences, "decoder tokens", most, description.VocabularySize);
        }

        if (!batch.DecoderTokens.IsEmpty)
            throw new ArgumentException($"the batch has tokens for a decoder beside an encoder's, but {model.Config.Family} is one stack", nameof(batch));
        if (!batch.Segments.IsEmpty)
            Within(batch.Segments, "segment", "segments", description.Embedding.Segments is null ? 1 : description.Embedding.SegmentCount);
        Within(batch.Positions, "position", "positions", hasTable ? most : ConfigChecks.MaxRows);
        return length;
    }

    /// <summary>The same batch with other input for the decoder.</summary>
    public static TokenBatch WithDecoderTokens(this in TokenBatch batch, ReadOnlySpan<int> tokens) => new(batch.Tokens, batch.Sequences)
    {
        Segments = batch.Segments,
        Mask = batch.Mask,
        Positions = batch.Positions,
        Documents = batch.Documents,
        DecoderTokens = tokens,
    };

    private static int Length(ReadOnlySpan<int> tokens, int sequences, string what, int most, int vocabulary)
    {
        if (sequences < 0 || (sequences == 0 ? tokens.Length > 0 : tokens.Length % sequences != 0))
            throw new ArgumentException($"{tokens.Length} {what} are not {sequences} sequences of one length", "batch");
        int length = sequences == 0 ? 0 : tokens.Length / sequences;
        if (length > most)
            throw new ArgumentException($"a sequence of {length} tokens is longer than the model's {most} positions", "tokens");
        foreach (int token in tokens)
        {
            if ((uint)token >= (uint)vocabulary)
                throw new ArgumentOutOfRangeException("tokens", token, $"a token lies outside the vocabulary of {vocabulary}");
        }

        return length;
    }

    private static void Part(ReadOnlySpan<int> part, string what, int count)
    {
        if (!part.IsEmpty && part.Length != count)
            throw new ArgumentException($"{count} tokens need as many {what}, not {part.Length}", "batch");
    }

    private static void Within(ReadOnlySpan<int> values, string one, string many, int count)
    {
        foreach (int value in values)
        {
            if ((uint)value >= (uint)count)
                throw new ArgumentOutOfRangeException(many, value, $"a {one} lies outside the model's {count} {many}");
        }
    }
}
