#!/usr/bin/env bash
# Print the fastest train.dtype for the CPU of this machine: bfloat16 if it has instructions for it, else float32.
#   cpu_dtype.sh [FILE]   description of the CPU by Linux (default: /proc/cpuinfo)
set -euo pipefail

if grep -Eqsw 'avx512_bf16|amx_bf16|bf16' "${1:-/proc/cpuinfo}"; then
  echo bfloat16
else
  echo "Found no bfloat16 instructions of this CPU: training in float32, which is slower." >&2
  echo float32
fi
