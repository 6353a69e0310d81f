#!/usr/bin/env bash
# Models that are trained here, a LLaMA and a T5 with three kinds of tokenizers, write the same text in llama.cpp, and after they were imported again.
#
#   tests/export-test.sh COMMAND ORACLE
set -euo pipefail
cli=$1 oracle=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cli" tokenizer train --vocab 500 --out "$work/bpe" >/dev/null
for kind in tiny:"$work/bpe" tiny:char tiny:byte t5-tiny:"$work/bpe" t5-tiny:char t5-tiny:byte; do
  preset=${kind%%:*} tokenizer=${kind#*:} prompt="And God said"
  name=$preset-$(basename "$tokenizer")
  [ "$preset" = tiny ] || prompt="And God said <extra_id_0> there be light"
  "$cli" train --preset "$preset" --tokenizer "$tokenizer" --steps 400 --eval-interval 400 --out "$work/run-$name" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  "$cli" export "$work/run-$name" --out "$work/$name.gguf" --type f32
  "$cli" import "$work/$name.gguf" --out "$work/$name-back"
  for folder in "$work/run-$name" "$work/$name-back"; do
    "$cli" sample "$folder" --prompt "$prompt" --tokens 16 --temperature 0 >"$work/ours" 2>/dev/null
    "$oracle" text "$work/$name.gguf" "$prompt" 16 >"$work/theirs" 2>/dev/null
    cmp "$work/ours" "$work/theirs" || { echo "$name: the texts differ"; head -c 300 "$work/ours"; head -c 300 "$work/theirs"; exit 1; }
  done
  echo "$name: $(head -c 100 "$work/theirs" | tr '\n' ' ')"
done
