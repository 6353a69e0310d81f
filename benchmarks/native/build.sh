#!/usr/bin/env bash
# Builds the C loops into the folder given. Without -fno-math-errno gcc does not vectorise sqrtf: half the speed.
set -euo pipefail
exec "${CC:-gcc}" -O3 -march=native -fno-math-errno -fopenmp -Wall -Wextra "$(dirname "$0")/adamw.c" -o "$1/adamw" -lm
