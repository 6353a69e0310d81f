#!/usr/bin/env bash
# Trains into a small file system until it is full: one clear error, and the earlier checkpoint is intact. Needs root;
# exits with 77 where no file system can be mounted.
#   tests/disk-full-test.sh [CLI]
set -euo pipefail
cd "$(dirname "$0")/.."
cli=${1:-}
if [ -z "$cli" ]; then
  dotnet build src/ILGpuOptim.Cli -c Release --nologo -v quiet
  cli=src/ILGpuOptim.Cli/bin/Release/net10.0/ILGpuOptim.Cli
fi
work=$(mktemp -d)
mkdir "$work/disk"
if ! mount -t tmpfs -o size=900k tmpfs "$work/disk" 2>/dev/null; then
  rm -rf "$work"
  echo "disk-full-test: no file system can be mounted here; it takes root, and a container that allows it"
  exit 77
fi
trap 'umount "$work/disk"; rm -rf "$work"' EXIT
small=(--layers 1 --heads 2 --hidden-size 64 --block 16 --batch 4 --eval-batches 1 --eval-interval 50 --checkpoint-interval 5 --warmup 5 --keep 5)
if "$cli" train "${small[@]}" --steps 500 --out "$work/disk/run" >"$work/out" 2>"$work/error"; then
  echo "disk-full-test: the run fitted the disk, so nothing was tested"
  exit 1
fi
cat "$work/error"
[ "$(grep -c '^error: ' "$work/error")" = 1 ] && [ "$(wc -l <"$work/error")" = 1 ] || { echo "disk-full-test: not one clear error"; exit 1; }
ls "$work/disk/run/checkpoints" | grep -q partial && { echo "disk-full-test: something half-written stayed"; exit 1; }
cp -r "$work/disk/run" "$work/copy"
last=$(basename "$(ls -d "$work/copy"/checkpoints/step-* | tail -n 1)")
"$cli" train --resume "$work/copy" --steps $((10#${last#step-} + 2)) >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
echo "disk-full-test: the checkpoint of step $((10#${last#step-})) was intact"

# Each command that writes: one clear error on a disk that is full, or that may only be read, and nothing half-written.
rm -rf "$work/disk/run"
run=$work/copy
head -c 300000 /dev/urandom | base64 >"$work/text.txt"
refused() {
  local name=$1
  shift
  if "$cli" "$@" >"$work/out" 2>"$work/error"; then
    echo "disk-full-test: $name fitted the disk, so nothing was tested"
    exit 1
  fi
  [ "$(grep -c '^error: ' "$work/error")" = 1 ] && [ "$(wc -l <"$work/error")" = 1 ] || { cat "$work/error"; echo "disk-full-test: $name gives not one clear error"; exit 1; }
  [ "$name" = compare ] || [ "$name" = train ] || [ "$(ls -A "$work/disk")" = "$before" ] || { ls -A "$work/disk"; echo "disk-full-test: $name left something half-written"; exit 1; }
  echo "disk-full-test: $name: $(cut -c 1-150 "$work/error")"
}
all() {
  before=$(ls -A "$work/disk")
  refused prepare prepare --data "$work/text.txt" --tokenizer byte --out "$work/disk/tokens"
  refused "tokenizer train" tokenizer train --data "$work/text.txt" --vocab 700 --out "$work/disk/tokenizer"
  refused merge merge "$run" "$work/disk/model"
  refused train train "${small[@]}" --steps 5 --out "$work/disk/new"
  refused compare compare "${small[@]/--keep/--clip}" --steps 8 --optimizers adamw --lr 1e-3 --out "$work/disk/comparison"
}
dd if=/dev/zero of="$work/disk/filler" bs=1k 2>/dev/null || true
truncate -s -12K "$work/disk/filler"
all
rm -rf "$work/disk/comparison" "$work/disk/new" "$work/disk/filler"
mkdir -p "$work/disk/run/checkpoints"
cp "$work/copy/settings.json" "$work/disk/run"
cp -r "$(ls -d "$work/copy"/checkpoints/step-* | tail -n 1)" "$work/disk/run/checkpoints"
mount -o remount,ro "$work/disk"
all
refused resume train --resume "$work/disk/run" --steps 1000
for command in "sample $work/disk/run --tokens 3" "info $work/disk/run" "eval $work/disk/run"; do
  "$cli" $command >"$work/out" 2>&1 || { cat "$work/out"; echo "disk-full-test: a folder that may only be read cannot be read"; exit 1; }
done
"$cli" info "$run" >/dev/full 2>"$work/error" && { echo "disk-full-test: a full disk behind standard output was not seen"; exit 1; }
[ "$(wc -l <"$work/error")" = 1 ] || { cat "$work/error"; exit 1; }
echo "disk-full-test: all commands tell of a full disk and of one that may only be read"
