using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>
/// Reads SentencePiece's model files (protocol buffers, <c>sentencepiece_model.proto</c>). Fields that only affect training are skipped;
/// unknown fields are refused by number.
/// </summary>
internal static class SentencePieceFile
{
    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>Fields of the trainer's settings that do not affect a trained model.</summary>
    private static readonly HashSet<int> TrainingOnly =
        [1, 2, 4, 5, 6, 7, .. Enumerable.Range(10, 14), 25, 26, .. Enumerable.Range(30, 5), 36, 40, 41, 42, 43, 45, 47, 48, .. Enumerable.Range(49, 6)];

    /// <summary>Reads a model.</summary>
    /// <param name="contents">The file.</param>
    /// <param name="source">The file's path, for messages.</param>
    /// <exception cref="UserException">The file is damaged, or has an unsupported field.</exception>
    public static SentencePieceModel Read(byte[] contents, string source)
    {
        try
        {
            return Check(ReadModel(new ProtobufReader(contents), source), source);
        }
        catch (Exception e) when (e is InvalidDataException or DecoderFallbackException)
        {
            throw new UserException($"{source}: not a SentencePiece model, or damaged or truncated: {e.Message} Download the file again", e);
        }
    }

    private static SentencePieceModel ReadModel(ProtobufReader input, string source)
    {
        var model = new SentencePieceModel();
        var pieces = new List<Piece>();
        var samples = new List<(string, string)>();
        while (input.Next())
        {
            switch (input.Field)
            {
                case 1:
                    pieces.Add(ReadPiece(Nested(ref input, source), $"{source}: pieces[{pieces.Count}]"));
                    break;
                case 2:
                    model = ReadTrainer(Nested(ref input, source), model, source);
                    break;
                case 3:
                    model = model with { Normalizer = ReadNormalizer(Nested(ref input, source), $"{source}: normalizer_spec") };
                    break;
                case 4:
                    ReadSamples(Nested(ref input, source), samples, source);
                    break;
                case 5:
                    model = model with { Denormalizer = ReadNormalizer(Nested(ref input, source), $"{source}: denormalizer_spec") };
                    break;
                case int number:
                    throw Unknown(source, number);
            }
        }

        return model with { Pieces = pieces, SelfTest = samples };
    }

    private static Piece ReadPiece(ProtobufReader input, string source)
    {
        var piece = new Piece("", 0, PieceType.Normal);
        while (input.Next())
        {
            piece = input.Field switch
            {
                1 => piece with { Text = Text(ref input, source) },
                2 => piece with { Score = Expect(input, WireType.Fixed32, source) ? input.Single() : 0 },
                3 => piece with { Type = (PieceType)Number(ref input, source) },
                int number => throw Unknown(source, number),
            };
        }

        return piece;
    }

    private static SentencePieceModel ReadTrainer(ProtobufReader input, SentencePieceModel model, string file)
    {
        string source = $"{file}: trainer_spec";
        while (input.Next())
        {
            switch (input.Field)
            {
                case 3:
                    model = model with { Algorithm = (PieceAlgorithm)Number(ref input, source) };
                    break;
                case 24:
                    model = model with { WhitespaceIsSuffix = Number(ref input, source) != 0 };
                    break;
                case 35:
                    model = model with { ByteFallback = Number(ref input, source) != 0 };
                    break;
                case 44:
                    model = model with { UnknownSurface = Text(ref input, source) };
                    break;
                case 46:
                    model = Text(ref input, source) is { Length: > 0 } begin ? model with { BeginPiece = begin } : model;
                    break;
                case int number when TrainingOnly.Contains(number):
                    input.Skip();
                    break;
                case int number:
                    throw Unknown(source, number);
            }
        }

        return model;
    }

    private static NormalizerSettings ReadNormalizer(ProtobufReader input, string source)
    {
        var settings = new NormalizerSettings();
        while (input.Next())
        {
            switch (input.Field)
            {
                // The name of the rules, and their source file.
                case 1 or 6:
                    input.Skip();
                    break;
                case 2:
                    ReadOnlySpan<byte> map = Bytes(ref input, source);
                    settings = settings with { Characters = map.IsEmpty ? null : new CharacterMap(map, source) };
                    break;
                case 3:
                    settings = settings with { AddDummyPrefix = Number(ref input, source) != 0 };
                    break;
                case 4:
                    settings = settings with { RemoveExtraWhitespaces = Number(ref input, source) != 0 };
                    break;
                case 5:
                    settings = settings with { EscapeWhitespaces = Number(ref input, source) != 0 };
                    break;
                case int number:
                    throw Unknown(source, number);
            }
        }

        return settings;
    }

    private static void ReadSamples(ProtobufReader input, List<(string, string)> samples, string file)
    {
        string source = $"{file}: self_test_data";
        while (input.Next())
        {
            if (input.Field != 1)
                throw Unknown(source, input.Field);
            ProtobufReader sample = Nested(ref input, source);
            (string text, string pieces) = ("", "");
            while (sample.Next())
            {
                (text, pieces) = sample.Field switch
                {
                    1 => (Text(ref sample, source), pieces),
                    2 => (text, Text(ref sample, source)),
                    int unknown => throw Unknown(source, unknown),
                };
            }

            samples.Add((text, pieces));
        }
    }

    /// <summary>Checks the conditions of SentencePiece's own loader.</summary>
    private static SentencePieceModel Check(SentencePieceModel model, string source)
    {
        if (model.Pieces.Count == 0)
            throw new UserException($"{source}: not a SentencePiece model: it has no pieces; download the file again");
        if (!Enum.IsDefined(model.Algorithm))
            throw new UserException($"{source}: trainer_spec: model_type {(int)model.Algorithm} is not supported; unigram, bpe, word and char are");
        var bytes = new HashSet<string>();
        int unknown = 0;
        for (int id = 0; id < model.Pieces.Count; id++)
        {
            (string text, float score, PieceType type) = model.Pieces[id];
            string? problem = !Enum.IsDefined(type) ? $"type {(int)type} is not supported"
                : text.Length == 0 ? "it has no text"
                : text.Contains('\0') ? "its text contains the character U+0000"
                : !float.IsFinite(score) ? $"score {score} is not finite"
                : type == PieceType.Byte && !model.ByteFallback ? "it is a byte piece, but byte_fallback is off"
                : type == PieceType.Byte && SentencePieceProcessor.ByteOf(text) is null ? $"\"{text}\" is not a byte; byte pieces are <0x00> to <0xFF>"
                : type == PieceType.Unknown && unknown++ > 0 ? "it is a second unknown piece; a model has one"
                : null;
            if (problem is not null)
                throw new UserException($"{source}: pieces[{id}]: {problem}; download the file again");
            if (type == PieceType.Byte)
                bytes.Add(text);
        }

        if (unknown == 0)
            throw new UserException($"{source}: there is no piece of type UNKNOWN; a SentencePiece model has one");
        if (model.ByteFallback && bytes.Count != 256)
            throw new UserException($"{source}: byte_fallback is on, but {bytes.Count} of 256 bytes have pieces; download the file again");
        return model;
    }

    private static ProtobufReader Nested(ref ProtobufReader input, string source) => new(Bytes(ref input, source));

    private static string Text(ref ProtobufReader input, string source) => Utf8.GetString(Bytes(ref input, source));

    private static ReadOnlySpan<byte> Bytes(ref ProtobufReader input, string source) => Expect(input, WireType.Bytes, source) ? input.Bytes() : [];

    private static int Number(ref ProtobufReader input, string source) => Expect(input, WireType.Varint, source) ? (int)input.Varint() : 0;

    private static bool Expect(ProtobufReader input, WireType type, string source) => input.Type == type ? true
        : throw new UserException($"{source}: field {input.Field} has another type than in SentencePiece's format; download the file again");

    private static UserException Unknown(string source, int field) =>
        new($"{source}: field {field} is not part of SentencePiece's format: the file is not a SentencePiece model, or of a newer version; convert the tokenizer to a tokenizer.json");
}
