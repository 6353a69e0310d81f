using System.Text;
using Google.Protobuf;

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
            return Check(ReadModel(new CodedInputStream(contents), source), source);
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or DecoderFallbackException)
        {
            throw new UserException($"{source}: not a SentencePiece model, or damaged or truncated: {e.Message} Download the file again", e);
        }
    }

    private static SentencePieceModel ReadModel(CodedInputStream input, string source)
    {
        var model = new SentencePieceModel();
        var pieces = new List<Piece>();
        var samples = new List<(string, string)>();
        while (input.ReadTag() is var tag and not 0)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 1:
                    pieces.Add(ReadPiece(Nested(input, tag, source), $"{source}: pieces[{pieces.Count}]"));
                    break;
                case 2:
                    model = ReadTrainer(Nested(input, tag, source), model, source);
                    break;
                case 3:
                    model = model with { Normalizer = ReadNormalizer(Nested(input, tag, source), $"{source}: normalizer_spec") };
                    break;
                case 4:
                    ReadSamples(Nested(input, tag, source), samples, source);
                    break;
                case 5:
                    model = model with { Denormalizer = ReadNormalizer(Nested(input, tag, source), $"{source}: denormalizer_spec") };
                    break;
                case int number:
                    throw Unknown(source, number);
            }
        }

        return model with { Pieces = pieces, SelfTest = samples };
    }

    private static Piece ReadPiece(CodedInputStream input, string source)
    {
        var piece = new Piece("", 0, PieceType.Normal);
        while (input.ReadTag() is var tag and not 0)
        {
            piece = WireFormat.GetTagFieldNumber(tag) switch
            {
                1 => piece with { Text = Text(input, tag, source) },
                2 => piece with { Score = Expect(tag, WireFormat.WireType.Fixed32, source) ? input.ReadFloat() : 0 },
                3 => piece with { Type = (PieceType)Number(input, tag, source) },
                int number => throw Unknown(source, number),
            };
        }

        return piece;
    }

    private static SentencePieceModel ReadTrainer(CodedInputStream input, SentencePieceModel model, string file)
    {
        string source = $"{file}: trainer_spec";
        while (input.ReadTag() is var tag and not 0)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 3:
                    model = model with { Algorithm = (PieceAlgorithm)Number(input, tag, source) };
                    break;
                case 24:
                    model = model with { WhitespaceIsSuffix = Number(input, tag, source) != 0 };
                    break;
                case 35:
                    model = model with { ByteFallback = Number(input, tag, source) != 0 };
                    break;
                case 44:
                    model = model with { UnknownSurface = Text(input, tag, source) };
                    break;
                case 46:
                    model = Text(input, tag, source) is { Length: > 0 } begin ? model with { BeginPiece = begin } : model;
                    break;
                case int number when TrainingOnly.Contains(number):
                    input.SkipLastField();
                    break;
                case int number:
                    throw Unknown(source, number);
            }
        }

        return model;
    }

    private static NormalizerSettings ReadNormalizer(CodedInputStream input, string source)
    {
        var settings = new NormalizerSettings();
        while (input.ReadTag() is var tag and not 0)
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                // The name of the rules, and their source file.
                case 1 or 6:
                    input.SkipLastField();
                    break;
                case 2:
                    ByteString map = Bytes(input, tag, source);
                    settings = settings with { Characters = map.IsEmpty ? null : new CharacterMap(map.Span, source) };
                    break;
                case 3:
                    settings = settings with { AddDummyPrefix = Number(input, tag, source) != 0 };
                    break;
                case 4:
                    settings = settings with { RemoveExtraWhitespaces = Number(input, tag, source) != 0 };
                    break;
                case 5:
                    settings = settings with { EscapeWhitespaces = Number(input, tag, source) != 0 };
                    break;
                case int number:
                    throw Unknown(source, number);
            }
        }

        return settings;
    }

    private static void ReadSamples(CodedInputStream input, List<(string, string)> samples, string file)
    {
        string source = $"{file}: self_test_data";
        while (input.ReadTag() is var tag and not 0)
        {
            if (WireFormat.GetTagFieldNumber(tag) is var number and not 1)
                throw Unknown(source, number);
            CodedInputStream sample = Nested(input, tag, source);
            (string text, string pieces) = ("", "");
            while (sample.ReadTag() is var field and not 0)
            {
                (text, pieces) = WireFormat.GetTagFieldNumber(field) switch
                {
                    1 => (Text(sample, field, source), pieces),
                    2 => (text, Text(sample, field, source)),
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

    private static CodedInputStream Nested(CodedInputStream input, uint tag, string source) => Bytes(input, tag, source).CreateCodedInput();

    private static string Text(CodedInputStream input, uint tag, string source) => Utf8.GetString(Bytes(input, tag, source).Span);

    private static ByteString Bytes(CodedInputStream input, uint tag, string source) =>
        Expect(tag, WireFormat.WireType.LengthDelimited, source) ? input.ReadBytes() : ByteString.Empty;

    private static int Number(CodedInputStream input, uint tag, string source) => Expect(tag, WireFormat.WireType.Varint, source) ? input.ReadInt32() : 0;

    private static bool Expect(uint tag, WireFormat.WireType type, string source) => WireFormat.GetTagWireType(tag) == type ? true
        : throw new UserException($"{source}: field {WireFormat.GetTagFieldNumber(tag)} has another type than in SentencePiece's format; download the file again");

    private static UserException Unknown(string source, int field) =>
        new($"{source}: field {field} is not part of SentencePiece's format: the file is not a SentencePiece model, or of a newer version; convert the tokenizer to a tokenizer.json");
}
