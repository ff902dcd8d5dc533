#!/usr/bin/env bash
# Start training on a Slurm cluster with one process per GPU, or two per machine without GPUs.
#
#   train_slurm.sh [options of srun] NODES GPUS python3 -m speechllm train ...
#
# The variables of torch.distributed are set from those of Slurm.
set -euo pipefail

if [[ $1 == rank ]]; then # on the machines
  shift
  export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID
  exec "$@"
fi

options=()
while [[ $1 == --* ]]; do
  options+=("$1")
  shift
done
nodes=$1 gpus=$2
shift 2
tasks=2
if ((gpus > 0)); then
  tasks=$gpus
  options+=(--gpus-per-node="$gpus")
fi
self=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")
MASTER_PORT=$((20000 + RANDOM % 20000))
export MASTER_PORT
# shellcheck disable=SC2016
exec srun "${options[@]}" --nodes="$nodes" --ntasks-per-node="$tasks" --kill-on-bad-exit=1 bash -c '
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) exec "$@"' train "$self" rank "$@"
