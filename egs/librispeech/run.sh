#!/usr/bin/env bash
# LibriSpeech: 960 hours of read English (https://www.openslr.org/12).
#
#   LIBRISPEECH=/data/LibriSpeech ./run.sh             all stages, from the download to the scores
#   ./run.sh --stage 3 --ngpu 4                        training and later stages
#   ./run.sh --config conf/whisper_tiny_smollm2_fc.yaml   another experiment on the same data
#   ./run_mini.sh                                      all stages on a tiny synthesised corpus
#   ./run.sh --help                                    all options
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus librispeech \
  --corpus_dir "${LIBRISPEECH:-}" \
  --train_sets train_960 \
  --valid_set dev_clean \
  --test_sets "test_clean test_other" \
  --config conf/whisper_large_v2_vicuna_13b_qf80.yaml \
  --normalizer librispeech \
  --nj 16 \
  --ngpu 8 \
  "$@" \
  --typed LIBRISPEECH="${LIBRISPEECH:-}" ./run.sh "$@"
