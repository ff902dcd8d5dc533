# shellcheck shell=bash disable=SC2034
# Commands that run jobs, for all recipes. Edit this file, or choose a backend with CMD_BACKEND=slurm ./run.sh ...; a recipe
# can override options in its own cmd.sh, after the line that reads this file.
#
#   local   parallel jobs on this machine
#   slurm   on a cluster: an array of jobs for dump and decode, srun for training, with options of sbatch and srun
cmd_backend=${CMD_BACKEND:-local}

case $cmd_backend in
  local)
    dump_cmd=../../utils/run_local.sh
    decode_cmd=../../utils/run_local.sh
    train_cmd="python3 -m"
    ((${ngpu:-0} < 2 && ${num_nodes:-1} < 2)) ||
      train_cmd="deepspeed --num_nodes ${num_nodes:-1} --num_gpus ${ngpu:-0} --no_local_rank --module"
    ;;
  slurm)
    dump_cmd="../../utils/run_slurm.sh --cpus-per-task=2"
    decode_cmd="../../utils/run_slurm.sh --cpus-per-task=2"
    ((${ngpu:-0} == 0)) || decode_cmd+=" --gpus-per-task=1"
    train_cmd="../../utils/train_slurm.sh"
    ((${ngpu:-0} == 0)) || train_cmd+=" --cpus-per-task=8"
    train_cmd+=" ${num_nodes:-1} ${ngpu:-0} python3 -m"
    ;;
  *)
    echo "cmd.sh: found cmd_backend=$cmd_backend, expected local or slurm" >&2
    exit 2
    ;;
esac
