#!/usr/bin/env bash
# The joint training on the mini corpora of the other recipes, whose run_mini.sh comes first.
#
#   ./run_mini.sh                                      on the CPU, with data, dump and exp in mini/
#   ./run_mini.sh --help                               every option, as of run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/run_mini.sh librispeech \
  --train_sets "train_mini ../commonvoice/mini/data/train ../gigaspeech/mini/data/xs" \
  --valid_set dev_mini \
  --test_sets "test_mini ../commonvoice/mini/data/test ../gigaspeech/mini/data/test ../eval2000/mini/data/callhome" \
  --normalizer whisper-english \
  "$@" \
  --typed ./run_mini.sh "$@"
