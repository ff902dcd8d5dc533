#!/usr/bin/env bash
# A test of the model of ../librispeech/run_mini.sh on a tiny synthesised set in a parquet file.
#
#   ./run_mini.sh                                      on the CPU, with data, dump and exp in mini/
#   ./run_mini.sh --help                               all options, as for run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/run_mini.sh open_asr_leaderboard \
  --trained ../librispeech/mini/exp/quickstart \
  --test_sets test \
  --normalizer whisper-english \
  --baseline en \
  "$@" \
  --typed ./run_mini.sh "$@"
