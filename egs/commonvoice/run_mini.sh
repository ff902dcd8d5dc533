#!/usr/bin/env bash
# The whole recipe on a tiny synthesised corpus of the same layout.
#
#   ./run_mini.sh                                      on the CPU, with data, dump and exp in mini/
#   ./run_mini.sh --help                               all options, as for run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/run_mini.sh commonvoice \
  --train_sets "train" \
  --valid_set dev \
  --test_sets "test" \
  --normalizer whisper-english \
  "$@" \
  --typed ./run_mini.sh "$@"
