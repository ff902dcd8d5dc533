#!/usr/bin/env bash
# Run jobs in parallel on this machine, one log each.
#
#   run_local.sh JOB=1:4 exp/log/decode.JOB.log command --job JOB ...
#
# JOB is replaced by the number of the job. A log begins with the command and ends with time and status. The output of
# the first job is also shown, and the logs of failed jobs are named. Each job uses an equal share of the cores as
# threads, or SPEECHLLM_THREADS; OMP_NUM_THREADS is ignored.
set -uo pipefail

range=${1#JOB=} log=$2
shift 2
first=${range%:*} last=${range#*:}
threads=$(($(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) / (last - first + 1)))
threads=${SPEECHLLM_THREADS:-$((threads > 0 ? threads : 1))}
export OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads

run_job=$(dirname "${BASH_SOURCE[0]}")/run_job.sh

mkdir -p "$(dirname "$log")"
pids=()
set -m # every job is a separate process group, so that it can be ended with its children
# shellcheck disable=SC2329
end_jobs() { # number of a signal
  trap '' INT TERM HUP
  jobs -p | while read -r group; do kill -- "-$group" 2>/dev/null; done
  wait
  exit $((128 + $1))
}
trap 'end_jobs 2' INT
trap 'end_jobs 15' TERM
trap 'end_jobs 1' HUP
for ((job = first; job <= last; job++)); do
  if ((job == first)); then
    "$run_job" "$job" "$@" 2>&1 | (trap '' INT TERM HUP; exec tee "${log//JOB/$job}") >&2 &
  else
    "$run_job" "$job" "$@" >"${log//JOB/$job}" 2>&1 &
  fi
  pids+=($!)
done

failed=0
for ((job = first; job <= last; job++)); do
  if ! { wait "${pids[job - first]}"; } 2>/dev/null; then # hides the shell's message about each job
    failed=1
    echo "$0: job $job failed; the end of ${log//JOB/$job}:" >&2
    tail -n 5 "${log//JOB/$job}" >&2
  fi
done
exit "$failed"
