#!/usr/bin/env bash
# Measures this project against its peers, inside Debian 13 (.ci/debian13): benchmarks/run.sh gemm|char|gpt2|optim [...]
set -euo pipefail
cd "$(dirname "$0")/.."
project=benchmarks/ILGpuOptim.Peers
output=$project/bin/Release/net10.0/linux-x64

.ci/debian13 --add libopenblas0-pthread libtcmalloc-minimal4t64 libgomp1 python3-torch
dotnet build "$project" -c Release -v quiet --nologo
benchmarks/native/build.sh "$output"
exec .ci/debian13 "$output/ILGpuOptim.Peers" "$@"
