using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>Writes SentencePiece's model files; fields have the numbers of its <c>sentencepiece_model.proto</c>.</summary>
internal static class SentencePieceWriter
{
    /// <summary>A model that merges pieces by score, encodes unknown characters as bytes, and changes no text but for spaces.</summary>
    /// <param name="pieces">The pieces in the order of ids.</param>
    /// <param name="addsSpace">Puts a space before a text.</param>
    public static byte[] BytePairs(IEnumerable<Piece> pieces, bool addsSpace)
    {
        var result = new ProtobufWriter();
        int count = 0;
        foreach (Piece piece in pieces)
        {
            var message = new ProtobufWriter();
            message.Bytes(1, Encoding.UTF8.GetBytes(piece.Text));
            message.Single(2, piece.Score);
            message.Varint(3, (int)piece.Type);
            result.Message(1, message);
            count++;
        }

        var trainer = new ProtobufWriter();
        trainer.Varint(3, (int)PieceAlgorithm.BytePair);
        trainer.Varint(4, count);
        trainer.Varint(35, 1); // unknown characters as bytes
        trainer.Varint(40, 0);
        trainer.Varint(41, 1);
        trainer.Varint(42, 2);
        result.Message(2, trainer);
        var normalizer = new ProtobufWriter();
        normalizer.Bytes(1, "identity"u8);
        normalizer.Varint(3, addsSpace ? 1 : 0);
        normalizer.Varint(4, 0);
        normalizer.Varint(5, 1);
        result.Message(3, normalizer);
        return result.Written.ToArray();
    }
}
