#!/usr/bin/env bash
# Measures this project on a GPU, and PyTorch where python3 has it: benchmarks/gpu.sh [cuda|opencl]
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
project=benchmarks/ILGpuOptim.Benchmarks
dotnet build "$project" -c Release -v quiet --nologo
ours=$project/bin/Release/net10.0/ILGpuOptim.Benchmarks

"$ours" device "$device" copy
"$ours" device "$device" products
"$ours" device "$device" train char 12 64
"$ours" device "$device" train gpt2 8 1024
"$ours" device "$device" optimizers
if [ "$device" = cuda ] && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  (cd benchmarks/pytorch && python3 gpu.py && python3 gpu.py --tf32 products train)
else
  echo "PyTorch: skipped, as python3 has none that sees a CUDA device"
fi
