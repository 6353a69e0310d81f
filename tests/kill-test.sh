#!/usr/bin/env bash
# Kills training runs at random moments, checks that each goes on from an intact checkpoint, and compares every loss with a run that was never stopped.
#   tests/kill-test.sh [CLI] [KILLS] [SEED]      CLI: the built tool; KILLS: how many (50); SEED: of the moments, to repeat a run (from the clock)
set -euo pipefail
cd "$(dirname "$0")/.."
cli=${1:-}
kills=${2:-50}
seed=${3:-$(date +%s)}
RANDOM=$seed
echo "kill-test: seed $seed"
if [ -z "$cli" ]; then
  dotnet build src/ILGpuOptim.Cli -c Release --nologo -v quiet
  cli=src/ILGpuOptim.Cli/bin/Release/net10.0/ILGpuOptim.Cli
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=$work/run
# The learning rate does not depend on the number of steps, which differs between the runs: a warm-up longer than a run would be shortened.
small=(--layers 1 --heads 2 --hidden-size 32 --block 16 --batch 4 --eval-batches 1 --eval-interval 50 --checkpoint-interval 2 --warmup 3 --schedule constant)
"$cli" train "${small[@]}" --steps 4 --out "$run" >/dev/null
resumed=0
for ((i = 1; i <= kills; i++)); do
  "$cli" train --resume "$run" --steps 1000000 >"$work/log" 2>&1 &
  pid=$!
  # Two of three are killed while they train, however slowly the machine starts them.
  for ((k = 0; i % 3 && k < 600; k++)); do
    grep -q '^step ' "$work/log" && break
    sleep 0.1
  done
  sleep "$((RANDOM % 2)).$((RANDOM % 90 + 10))"
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  if grep -q '^error:' "$work/log"; then
    cat "$work/log"
    echo "kill-test: could not resume after kill $((i - 1))"
    exit 1
  fi
  resumed=$((resumed + 1))
done
last=$(basename "$(ls -d "$run"/checkpoints/step-??????? | tail -n 1)")
step=$((10#${last#step-}))
"$cli" train --resume "$run" --steps $((step + 2)) >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$cli" train "${small[@]}" --steps $((step + 2)) --out "$work/whole" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# Both validate at multiples of fifty; each also where it was told to end. Times differ, and each beginning and each end has lines of its own.
losses() { awk -F'[:,]' '/loss"/ && (!/val_loss/ || $2 % 50 == 0)' "$1/metrics.jsonl" | sed 's/,"time":.*//'; }
losses "$run" >"$work/run.losses"
losses "$work/whole" >"$work/whole.losses"
updates=$(grep -vc val_loss "$work/run.losses")
[ "$updates" = $((step + 2)) ] || { echo "kill-test: $updates losses for $((step + 2)) steps"; exit 1; }
diff "$work/run.losses" "$work/whole.losses" >"$work/difference" || { head "$work/difference"; echo "kill-test: the losses differ from those of a run that was never stopped"; exit 1; }
find "$work" -name '*.partial-*' | grep . && { echo "kill-test: something temporary stayed"; exit 1; }
echo "kill-test: $kills kills, $resumed resumed, the last from step $step; all $updates losses are those of a run that was never stopped"
