#!/usr/bin/env bash
# Trains into a small file system until it is full: one clear error, and the earlier checkpoint is intact. Needs root.
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
  echo "disk-full-test: skipped, a file system can only be mounted by root"
  exit 0
fi
trap 'umount "$work/disk"; rm -rf "$work"' EXIT
small=(--layers 1 --heads 2 --channels 64 --block 16 --batch 4 --eval-batches 1 --eval-interval 50 --checkpoint-interval 5 --warmup 5 --keep 5)
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
