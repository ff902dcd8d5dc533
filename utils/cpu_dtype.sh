#!/usr/bin/env bash
# Print the value of train.dtype that trains fastest on this machine's CPU: bfloat16 if it has instructions for it, or float32.
set -euo pipefail

if [[ -r /proc/cpuinfo ]] && ! grep -Eq 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
  echo "This CPU has no bfloat16 instructions: training in float32, which takes longer." >&2
  echo float32
else
  echo bfloat16
fi
