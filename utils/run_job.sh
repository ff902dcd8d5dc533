#!/usr/bin/env bash
# Run one of several jobs: run_job.sh NUMBER COMMAND ... replaces JOB in the command by the number.
# The output begins with the command and ends with time and status.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/run_child.sh"

job=$1
shift
echo "# ${*//JOB/$job}"
trap 'echo "# job $job ended after $SECONDS s with status $?"' EXIT
run_child "${@//JOB/$job}"
