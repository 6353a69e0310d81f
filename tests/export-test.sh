#!/usr/bin/env bash
# A model that is trained here, with three kinds of tokenizers, writes the same text in llama.cpp, and after it was imported again.
#
#   tests/export-test.sh COMMAND ORACLE
set -euo pipefail
cli=$1 oracle=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/text"
head -c 300000 "$(dirname "$0")/../README.md" "$(dirname "$0")"/../docs/*.md >"$work/text/docs.txt"
"$cli" tokenizer train --data "$work/text" --vocab 500 --out "$work/bpe" >/dev/null
for tokenizer in "$work/bpe" char byte; do
  name=$(basename "$tokenizer")
  "$cli" train --preset tiny --data "$work/text/docs.txt" --tokenizer "$tokenizer" --steps 300 --eval-interval 300 --out "$work/$name" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  "$cli" export "$work/$name" --out "$work/$name.gguf" --type f32
  "$cli" import "$work/$name.gguf" --out "$work/$name-back"
  for folder in "$work/$name" "$work/$name-back"; do
    "$cli" sample "$folder" --prompt "The model " --tokens 20 --temperature 0 >"$work/ours" 2>/dev/null
    "$oracle" text "$work/$name.gguf" "The model " 20 >"$work/theirs" 2>/dev/null
    cmp "$work/ours" "$work/theirs" || { echo "$name: the texts differ"; head -c 300 "$work/ours"; head -c 300 "$work/theirs"; exit 1; }
  done
  echo "$name: $(head -c 100 "$work/theirs" | tr '\n' ' ')"
done
