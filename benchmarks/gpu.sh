#!/usr/bin/env bash
# Measures this project on a GPU, and PyTorch where python3 has it:
#
#   benchmarks/gpu.sh [cuda|opencl] [FOLDER] [TASK...]      TASK: copy, products, attention, rows, train, optimizers; all by default
#
# FOLDER (default gpu-results) gets the output of each part, and table.md: products, attention and products of few rows beside PyTorch, training steps, optimizers.
# A part that fails is reported, and the others run. SHAPES names products as M,N,K,NT instead of the usual ones, HEADS attention as
# BATCH,HEADS,LENGTH,SIZE.
set -uo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
folder=${2:-gpu-results}
tasks=${*:3}
tasks=${tasks:-copy products attention rows train optimizers}
precisions="f32 tf32 bf16"
[ "$device" = cuda ] || precisions=f32
mkdir -p "$folder"
project=benchmarks/ILGpuOptim.Benchmarks
dotnet build "$project" -c Release -v quiet --nologo || exit 1
ours=$project/bin/Release/net10.0/ILGpuOptim.Benchmarks
torch=
if [ "$device" = cuda ] && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  torch=benchmarks/pytorch/gpu.py
else
  echo "PyTorch: skipped, as python3 has none that sees a CUDA device"
fi

failed=0
# part NAME COMMAND...: runs a command, its output in NAME.txt.
part() {
  echo "== $1"
  if ! "${@:2}" 2>&1 | tee "$folder/$1.txt"; then
    echo "$1: failed"
    failed=1
  fi
}

for task in $tasks; do
  case $task in
    copy) part ours-copy "$ours" device "$device" copy ;;
    products)
      for precision in $precisions; do
        part "ours-products-$precision" "$ours" device "$device" products "$precision" ${SHAPES:-}
        [ -z "$torch" ] || part "torch-products-$precision" python3 "$torch" products "--$precision"
      done ;;
    attention)
      for precision in $precisions; do
        part "ours-attention-$precision" "$ours" device "$device" attention "$precision" ${HEADS:-}
        [ -z "$torch" ] || part "torch-attention-$precision" python3 "$torch" attention "--$precision"
      done ;;
    rows)
      part ours-rows "$ours" device "$device" rows
      [ -z "$torch" ] || part torch-rows python3 "$torch" rows ;;
    train)
      part ours-train-char "$ours" device "$device" train char 12 64
      for precision in $precisions; do
        part "ours-train-$precision" "$ours" device "$device" train "$precision" gpt2 8 1024
        [ -z "$torch" ] || part "torch-train-$precision" python3 "$torch" train "--$precision"
      done ;;
    optimizers)
      part ours-optimizers "$ours" device "$device" optimizers
      [ -z "$torch" ] || part torch-optimizers python3 "$torch" optimizers ;;
    *) echo "$task: no such task"; exit 1 ;;
  esac
done

# join OURS TORCH: rows "name | time | ours | PyTorch | ratio" of two parts whose lines are "NAME time us rate UNIT".
join_parts() {
  awk '
    / us +[0-9.]+ (GFLOP|TFLOP|GB)\/s$/ {
      name = $0; sub(/ +[0-9.]+ us .*/, "", name); gsub(/ +/, " ", name); sub(/^ /, "", name)
      if (FILENAME == ARGV[1]) { order[++count] = name; ours[name] = $(NF - 1); time[name] = $(NF - 3) } else torch[name] = $(NF - 1)
    }
    END {
      for (i = 1; i <= count; i++) {
        name = order[i]
        ratio = ""
        if (name in torch && torch[name] + 0 != 0) ratio = sprintf("%.2f", ours[name] / torch[name])
        printf "| %s | %s | %s | %s | %s |\n", name, time[name], ours[name], torch[name], ratio
      }
    }' "$1" "$2"
}

{
  echo "# $device, $(date -u +%Y-%m-%d), $(git describe --always --dirty 2>/dev/null)"
  head -qn 1 "$folder"/ours-*.txt "$folder"/torch-*.txt 2>/dev/null | sort -u | sed 's/^/- /'
  for precision in $precisions; do
    [ -e "$folder/ours-products-$precision.txt" ] || continue
    printf '\n## Products, %s\n\n| product | us | GFLOP/s | PyTorch | ours / PyTorch |\n|---|---:|---:|---:|---:|\n' "$precision"
    other=$folder/torch-products-$precision.txt
    join_parts "$folder/ours-products-$precision.txt" "$([ -e "$other" ] && echo "$other" || echo /dev/null)"
  done
  for precision in $precisions; do
    [ -e "$folder/ours-attention-$precision.txt" ] || continue
    printf '\n## Causal attention, %s\n\n| pass | us | TFLOP/s | PyTorch | ours / PyTorch |\n|---|---:|---:|---:|---:|\n' "$precision"
    other=$folder/torch-attention-$precision.txt
    join_parts "$folder/ours-attention-$precision.txt" "$([ -e "$other" ] && echo "$other" || echo /dev/null)"
  done
  if [ -e "$folder/ours-rows.txt" ]; then
    printf '\n## Products of few rows: bytes of the weights\n\n| product | us | GB/s | PyTorch | ours / PyTorch |\n|---|---:|---:|---:|---:|\n'
    join_parts "$folder/ours-rows.txt" "$([ -e "$folder/torch-rows.txt" ] && echo "$folder/torch-rows.txt" || echo /dev/null)"
  fi
  for part in copy train-char train-f32 train-tf32 train-bf16 optimizers; do
    for side in ours torch; do
      [ -e "$folder/$side-$part.txt" ] || continue
      printf '\n## %s, %s\n\n' "$part" "$side"
      sed '1d;s/^/    /' "$folder/$side-$part.txt"
    done
  done
} >"$folder/table.md"
echo "$folder/table.md"
exit "$failed"
