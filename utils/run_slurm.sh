#!/usr/bin/env bash
# Run jobs in parallel on a Slurm cluster, one log each: options of sbatch, then the arguments of run_local.sh.
#
#   run_slurm.sh --partition=cpu --cpus-per-task=2 JOB=1:4 exp/log/decode.JOB.log command --job JOB ...
#
# One array of jobs is submitted, and the script waits for it. The logs of failed jobs are named; to repeat these jobs, run
# the stage again: the other jobs are complete and are skipped.
set -uo pipefail

options=()
while [[ ${1:-} == --* ]]; do
  options+=("$1")
  shift
done
range=${1#JOB=} log=$2
shift 2
first=${range%:*} last=${range#*:}
utils=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

mkdir -p "$(dirname "$log")"
for ((job = first; job <= last; job++)); do
  rm -f "${log//JOB/$job}" # of an earlier run
done
name=$(basename "$log" .JOB.log).$(hostname -s).$$
# shellcheck disable=SC2329
cancel() { # number of a signal
  trap '' INT TERM HUP
  scancel --name="$name"
  kill %1 # sbatch --wait
  exit $((128 + $1))
}
trap 'cancel 2' INT
trap 'cancel 15' TERM
trap 'cancel 1' HUP
sbatch --wait --quiet --array="$first-$last" --job-name="$name" --output="${log//JOB/%a}" "${options[@]}" <<EOF &
#!/usr/bin/env bash
threads=\${SPEECHLLM_THREADS:-\${SLURM_CPUS_PER_TASK:-1}}
export OMP_NUM_THREADS=\$threads MKL_NUM_THREADS=\$threads OPENBLAS_NUM_THREADS=\$threads
exec $(printf '%q ' "$utils/run_job.sh") "\$SLURM_ARRAY_TASK_ID" $(printf '%q ' "$@")
EOF
wait $!
status=$?

for ((job = first; job <= last; job++)); do
  if ! tail -n 1 "${log//JOB/$job}" 2>/dev/null | grep -q 'with status 0$'; then
    status=$((status > 0 ? status : 1))
    echo "$0: job $job failed; the end of ${log//JOB/$job}:" >&2
    tail -n 5 "${log//JOB/$job}" >&2
  fi
done
exit "$status"
