# shellcheck shell=bash disable=SC2034
# How jobs are run, for all recipes. Edit it, or choose with CMD_BACKEND=slurm ./run.sh ...; a recipe that needs other
# options says so in its own cmd.sh, below the line that reads this file.
#
#   local   on this machine, side by side
#   slurm   on a cluster: an array of jobs for dump and decode, srun for training; the options are sbatch's and srun's
cmd_backend=${CMD_BACKEND:-local}

case $cmd_backend in
  local)
    dump_cmd=../../utils/run_local.sh
    decode_cmd=../../utils/run_local.sh
    train_cmd=''
    ;;
  slurm)
    dump_cmd="../../utils/run_slurm.sh --cpus-per-task=2"
    decode_cmd="../../utils/run_slurm.sh --cpus-per-task=2"
    ((${ngpu:-0} == 0)) || decode_cmd+=" --gpus-per-task=1"
    train_cmd="../../utils/train_slurm.sh --cpus-per-task=8"
    ((${ngpu:-0} > 0)) || train_cmd="../../utils/train_slurm.sh"
    ;;
  *)
    echo "cmd.sh: found cmd_backend=$cmd_backend, expected local or slurm" >&2
    exit 2
    ;;
esac
