#!/usr/bin/env bash
# Opens the page of runs in a headless browser and checks what its script has drawn.
#   tests/watch-test.sh CLI      CLI: the built tool; BROWSER: Chromium's command (chromium)
set -euo pipefail
cli=$(realpath "$1")
browser=${BROWSER:-chromium}
command -v "$browser" >/dev/null || { echo "watch-test: $browser is not installed (Debian: apt-get install chromium)"; exit 77; }
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
"$cli" train --preset tiny --steps 30 --eval-interval 10 --eval-batches 1 --sample-interval 10 --layer-interval 10 --out "$work/runs/first" >/dev/null
"$cli" train --preset tiny --steps 20 --eval-interval 10 --eval-batches 1 --optimizer came --lr 3e-5 --seed 7 --spike-threshold 0.5 --spike-window 3 --out "$work/runs/second" >/dev/null

# Damaged or incomplete files of one run leave the page of the others alone.
mkdir "$work/runs/poor" "$work/runs/broken"
echo '{"steps": 10, "optimizer": {"name": "adamw"}}' >"$work/runs/poor/settings.json"
printf '{"step":1,"began":{}}\n{"step":1,"loss":"x"}\n{"step":1,"val_loss":[1]}\n{"step":2,"loss":3}\n{"step":2,"layers":{"w":null}}\n{"step":3,"layers":7}\n' >"$work/runs/poor/metrics.jsonl"
echo '{"steps":' >"$work/runs/broken/settings.json"

# The page of finished runs, side by side.
page() { "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --virtual-time-budget=5000 --dump-dom "$1" 2>/dev/null; }
address() { for ((i = 0; i < 100; i++)); do sed -n 's/^watch *\(http.*\)$/\1/p' "$1" | grep . && return; sleep 0.1; done; echo "watch-test: no address in $1" >&2; return 1; }
"$cli" watch "$work/runs" 2>"$work/watch.log" &
page "$(address "$work/watch.log")" >"$work/finished.html"

# A run that trains: its page shows steps before it ends.
"$cli" train --preset tiny --steps 1000000 --eval-batches 0 --out "$work/live" --watch >"$work/train.out" 2>"$work/train.log" &
live=$(address "$work/train.log")
for ((i = 0; i < 300; i++)); do grep -q '^step ' "$work/train.out" && break; sleep 0.1; done
sleep 2
page "$live" >"$work/live.html"

expect() { grep -Eo "$2" "$work/$1.html" | head -n 1 | grep . >/dev/null || { echo "watch-test: the $1 page does not show $3"; head -c 2000 "$work/$1.html"; exit 1; }; }
expect finished 'data-run="first" data-step="30"' "the last step of the first run"
expect finished 'data-run="second" data-step="20"' "the last step of the second run"
expect finished 'data-run="first" data-points="30"' "every loss of the first run"
expect finished 'data-run="first" data-points="4"' "every validation of the first run"
expect finished 'data-sample="first"' "a sample"
expect finished '"came"' "the settings that differ"
expect finished 'data-run="poor" data-step="2"' "a run with incomplete files"
expect finished 'data-run="first" data-map="ratio" data-rows="5" data-columns="3"' "the update-to-weight ratios of five layers in three records"
expect finished 'data-run="second" data-skipped="[0-9]+"' "a skipped step"
expect finished 'data-run="broken" data-step="0"' "a run with damaged settings"
expect live 'data-run="live" data-step="[1-9][0-9]*"' "the steps of a run that trains"
echo "watch-test: two finished runs and one that trains are shown"
