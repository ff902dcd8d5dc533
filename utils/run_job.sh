#!/usr/bin/env bash
# Run one of several jobs: run_job.sh NUMBER COMMAND ..., in which JOB is replaced by the number.
# What it prints, a log, begins with the command and ends with time and status.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/run_child.sh"

job=$1
shift
echo "# ${*//JOB/$job}"
trap 'echo "# job $job ended after $SECONDS s with status $?"' EXIT
run_child "${@//JOB/$job}"
