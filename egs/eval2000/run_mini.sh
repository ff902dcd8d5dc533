#!/usr/bin/env bash
# The model of ../librispeech/run_mini.sh, tested on a tiny corpus of the same layout, made on the spot.
#
#   ./run_mini.sh                                      on the CPU, with data, dump and exp in mini/
#   ./run_mini.sh --help                               every option, as of run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/run_mini.sh eval2000 \
  --trained ../librispeech/mini/exp/quickstart \
  --test_sets "callhome switchboard" \
  "$@" \
  --typed ./run_mini.sh "$@"
