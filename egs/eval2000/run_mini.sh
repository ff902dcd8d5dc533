#!/usr/bin/env bash
# A test of the model of ../librispeech/run_mini.sh on a tiny synthesised corpus of the same layout.
#
#   ./run_mini.sh                                      on the CPU, with data, dump and exp in mini/
#   ./run_mini.sh --help                               all options, as for run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/run_mini.sh eval2000 \
  --trained ../librispeech/mini/exp/quickstart \
  --test_sets "callhome switchboard" \
  "$@" \
  --typed ./run_mini.sh "$@"
