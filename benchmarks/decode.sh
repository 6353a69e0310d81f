#!/usr/bin/env bash
# Decoding beside llama2.c: benchmarks/decode.sh RUN.C [15M|110M ...], RUN.C being the file of that name in llama2.c's repository.
set -euo pipefail
source=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${CC:-gcc}" -O3 -march=native -fopenmp -ffast-math "$source" -o "$folder/run" -lm
dotnet build benchmarks/ILGpuOptim.Decoding -c Release -v quiet --nologo
benchmarks/ILGpuOptim.Decoding/bin/Release/net10.0/ILGpuOptim.Decoding "$folder/run" "$folder" "$@"
