#!/usr/bin/env bash
# Run one of several jobs: run_job.sh NUMBER COMMAND ..., in which JOB is replaced by the number.
# What it prints, a log, begins with the command and ends with time and status.
set -uo pipefail

job=$1
shift
echo "# ${*//JOB/$job}"
"${@//JOB/$job}"
status=$?
echo "# job $job ended after $SECONDS s with status $status"
exit "$status"
