#!/usr/bin/env bash
# Measures this project against its peers, inside Debian 13 (.ci/debian13): benchmarks/run.sh gemm|opencl|char|gpt2|llama|optim [...]
# benchmarks/run.sh opencl-tune lets CLBlast's tuners find its best parameters on this machine first (about ten minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
project=benchmarks/ILGpuOptim.Peers
output=$project/bin/Release/net10.0/linux-x64
tuned=$PWD/$output/clblast

# Products: all of the tuners' fixed parameters, and a random part of the larger space.
# shellcheck disable=SC2016 # the inner shell expands these
tune() {
  mkdir -p "$tuned"
  .ci/debian13 bash -ec 'cd "$1"
    for kernel in copy_fast copy_pad transpose_fast transpose_pad; do
      "clblast_tuner_$kernel" -precision 32 -m 1024 -n 1024
    done
    clblast_tuner_xgemm_direct -precision 32 -m 256 -n 256 -k 256 -fraction 64
    clblast_tuner_xgemm -precision 32 -m 512 -n 512 -k 512 -fraction 128' tune "$tuned"
}

case ${1:-} in
  opencl-tune)
    .ci/debian13 --add libclblast1 clblast-utils
    tune
    exit
    ;;
  opencl) .ci/debian13 --add libclblast1 ;;
  *) .ci/debian13 --add libopenblas0-pthread libtcmalloc-minimal4t64 libgomp1 python3-torch ;;
esac
dotnet build "$project" -c Release -v quiet --nologo
benchmarks/native/build.sh "$output"
exec .ci/debian13 "$output/ILGpuOptim.Peers" "$@"
