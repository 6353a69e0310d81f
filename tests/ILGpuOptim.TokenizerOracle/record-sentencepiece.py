"""Trains small SentencePiece models and records their ids with SentencePiece's own library.

    record-sentencepiece.py train TEXT GOLDENS    writes GOLDENS/sentencepiece/*.model.gz
    record-sentencepiece.py record GOLDENS        writes GOLDENS/recorded/sentencepiece.json

Needs Debian's python3-sentencepiece.
"""
import base64
import gzip
import hashlib
import json
import os
import struct
import sys
import tempfile

import sentencepiece

UNIGRAM, BPE = {"model_type": "unigram"}, {"model_type": "bpe"}
IDENTITY = {"normalization_rule_name": "identity"}
BYTES = {"byte_fallback": True, "vocab_size": 560}
RULES = [("\u00c4", "Ae"), ("\u00e4", "ae"), ("a\u0308", "ae"), ("\ufb01", "fi"), ("\u200b", ""), ("\u3000", " "), ("A", "a"), ("abc", "X"), ("ab", "Y"), ("\t", " "), ("!", ""), ("\u2026", "...")]

MODELS = {
    "unigram": {**UNIGRAM, **IDENTITY},
    "bpe": {**BPE, **IDENTITY},
    "char": {"model_type": "char", **IDENTITY, "vocab_size": 90},
    "word": {"model_type": "word", **IDENTITY},
    "unigram-nmt-nfkc": {**UNIGRAM, "normalization_rule_name": "nmt_nfkc"},
    "bpe-nfkc-cf": {**BPE, "normalization_rule_name": "nfkc_cf"},
    "bpe-nfkc": {**BPE, "normalization_rule_name": "nfkc"},
    "unigram-nmt-nfkc-cf": {**UNIGRAM, "normalization_rule_name": "nmt_nfkc_cf"},
    "unigram-rules": {**UNIGRAM, "rules": True},
    "bpe-rules-no-extra": {**BPE, "rules": True, "remove_extra_whitespaces": False},
    "unigram-bytes": {**UNIGRAM, **IDENTITY, **BYTES},
    "bpe-bytes": {**BPE, **IDENTITY, **BYTES},
    "llama": {**BPE, **IDENTITY, **BYTES, "split_digits": True, "remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True, "unk_surface": " \u2047 "},
    "gemma": {**BPE, **IDENTITY, **BYTES, "split_digits": True, "remove_extra_whitespaces": False, "add_dummy_prefix": False, "user_defined_symbols": ["<start_of_turn>", "\n", "\n\n", "\u2581\u2581", "\u2581\u2581\u2581\u2581", "<b>"], "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
    "unigram-user-defined": {**UNIGRAM, **IDENTITY, "user_defined_symbols": ["<|user|>", "<|end|>", "king", "ing", " the", "\t", "\U0001F600", "ab", "abc"]},
    "bpe-user-defined": {**BPE, **IDENTITY, "user_defined_symbols": ["<|user|>", "<|end|>", "king", "ing", " the", "\t", "\U0001F600", "ab", "abc"]},
    "bpe-control": {**BPE, **IDENTITY, "control_symbols": ["<cls>", "<sep>"]},
    "unigram-control": {**UNIGRAM, **IDENTITY, "control_symbols": ["<cls>", "<sep>"], "user_defined_symbols": ["<x>"]},
    "unigram-suffix": {**UNIGRAM, **IDENTITY, "treat_whitespace_as_suffix": True},
    "bpe-suffix": {**BPE, **IDENTITY, "treat_whitespace_as_suffix": True},
    "unigram-suffix-no-dummy": {**UNIGRAM, **IDENTITY, "treat_whitespace_as_suffix": True, "add_dummy_prefix": False},
    "unigram-no-dummy": {**UNIGRAM, **IDENTITY, "add_dummy_prefix": False},
    "bpe-no-dummy": {**BPE, **IDENTITY, "add_dummy_prefix": False},
    "unigram-no-extra": {**UNIGRAM, **IDENTITY, "remove_extra_whitespaces": False},
    "bpe-no-dummy-no-extra": {**BPE, **IDENTITY, "add_dummy_prefix": False, "remove_extra_whitespaces": False},
    "bpe-no-bos-eos": {**BPE, **IDENTITY, "bos_id": -1, "eos_id": -1, "pad_id": -1},
    "unigram-t5": {**UNIGRAM, **IDENTITY, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "unigram-unk-surface": {**UNIGRAM, **IDENTITY, "unk_surface": "<?>", "unk_piece": "[UNK]", "unk_id": 3, "bos_id": 0, "eos_id": 1, "pad_id": 2},
    "bpe-no-split": {**BPE, **IDENTITY, "split_by_whitespace": False, "split_by_number": False, "split_by_unicode_script": False, "max_sentencepiece_length": 24},
    "unigram-no-split": {**UNIGRAM, **IDENTITY, "split_by_whitespace": False, "split_by_number": False, "split_by_unicode_script": False},
}

# Every code point in context, as UnicodeBlocks.cs has them.
RANGES = [(0x0000, 0xD7FF), (0xE000, 0x1FFFF), (0x20000, 0x200FF), (0x2A600, 0x2A7FF), (0x2B700, 0x2B8FF), (0x2CE00, 0x2CEFF), (0x2EB00, 0x2EEFF),
          (0x2F800, 0x2FAFF), (0x2FF00, 0x300FF), (0x31300, 0x313FF), (0x32300, 0x324FF), (0x33400, 0x334FF), (0xE0000, 0xE01FF), (0xF0000, 0xF00FF), (0x10FF00, 0x10FFFF)]
UNICODE = {"bpe", "unigram", "unigram-nmt-nfkc", "bpe-nfkc-cf", "bpe-nfkc", "unigram-nmt-nfkc-cf", "llama", "unigram-bytes"}
EXTRA = ["caf\u00e9 na\u00efve \u00c4rger", "\u4e2d\u6587\u5b57 \u65e5\u672c\u8a9e", "in 1984 and 2024 there were 12 dogs", "    return x", "a  b   c", "tab\there", "\U0001F600 smile", "user: <b> hello"] * 30


def train(text, goldens):
    folder = os.path.join(goldens, "sentencepiece")
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        data, rules = os.path.join(scratch, "text"), os.path.join(scratch, "rules.tsv")
        with open(text, encoding="utf-8") as source, open(data, "w", encoding="utf-8") as target:
            target.write("\n".join([line for _, line in zip(range(3000), (line.rstrip("\n") for line in source)) if line] + EXTRA))
        with open(rules, "w") as file:
            for source, target in RULES:
                file.write(" ".join(f"{ord(c):04X}" for c in source) + "\t" + " ".join(f"{ord(c):04X}" for c in target) + "\n")
        for name, options in MODELS.items():
            options = {"vocab_size": 360, "hard_vocab_limit": False, "character_coverage": 0.9995, "num_threads": 1, "minloglevel": 2, **options}
            if options.pop("rules", False):
                options["normalization_rule_tsv"] = rules
            sentencepiece.SentencePieceTrainer.train(input=data, model_prefix=os.path.join(scratch, "m"), **options)
            with open(os.path.join(scratch, "m.model"), "rb") as file, open(os.path.join(folder, name + ".model.gz"), "wb") as target:
                target.write(gzip.compress(file.read(), 9, mtime=0))


def short(data):
    return hashlib.sha256(data).digest()[:4]


def of_ids(ids):
    return short(struct.pack(f"<{len(ids)}i", *ids))


def coded(hashes):
    return base64.b64encode(b"".join(hashes)).decode()


def blocks():
    for first, last in RANGES:
        for block in range(first, last + 1, 256):
            yield "".join(f"a{chr(c)}b {chr(c)}{chr(c)} " for c in range(block, block + 256))


def record(goldens):
    with open(os.path.join(goldens, "texts.json")) as file:
        texts = json.load(file)
    plain = ["a <|user|> b<|end|>", "the king\tabc ab", "<s>x</s><unk> <cls>y<sep><x>", "<start_of_turn>user\n\n<b>  x    y\n"] + texts["plain"]
    with open(os.path.join(goldens, "recorded", "sentencepiece.json"), "w") as target:
        lines = []
        for name in MODELS:
            with gzip.open(os.path.join(goldens, "sentencepiece", name + ".model.gz")) as file:
                model = sentencepiece.SentencePieceProcessor(model_proto=file.read())
            ids = [model.encode(text) for text in plain]
            other = [model.encode(text) for text in texts["hashed"]]
            size = model.get_piece_size()
            decode = [[i] for i in range(0, size, 7)] + [[(i * k + k) % size for i in range(12)] for k in range(1, 40)]
            golden = {
                "plain": plain,
                "ids": ids,
                "texts": [model.decode(i) for i in ids],
                "hashes": coded(of_ids(i) for i in other),
                "textHashes": coded(short(model.decode(i).encode()) for i in other),
                "decode": decode,
                "decoded": [model.decode(i) for i in decode],
            }
            if name in UNICODE:
                golden["unicode"] = coded(of_ids(model.encode(text)) for text in blocks())
            lines.append(f"{json.dumps(name)}:{json.dumps(golden, separators=(',', ':'))}")
        target.write("{\n" + ",\n".join(lines) + "\n}\n")


if sys.argv[1:2] == ["train"] and len(sys.argv) == 4:
    train(*sys.argv[2:])
elif sys.argv[1:2] == ["record"] and len(sys.argv) == 3:
    record(sys.argv[2])
else:
    sys.exit(__doc__)
