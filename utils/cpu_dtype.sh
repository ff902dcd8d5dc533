#!/usr/bin/env bash
# Print the value of train.dtype that trains fastest on this machine's CPU: bfloat16 if it has instructions for it, or float32.
#   cpu_dtype.sh [FILE]   as Linux describes the CPU (default: /proc/cpuinfo)
set -euo pipefail

if grep -Eqsw 'avx512_bf16|amx_bf16|bf16' "${1:-/proc/cpuinfo}"; then
  echo bfloat16
else
  echo "No bfloat16 instructions are known of this CPU: training in float32, which takes longer." >&2
  echo float32
fi
