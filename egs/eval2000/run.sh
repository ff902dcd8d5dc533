#!/usr/bin/env bash
# The 2000 HUB5 English evaluation, a test set: telephone speech of CallHome and Switchboard (LDC2002S09, LDC2002T43).
#
#   EVAL2000=/data/hub5 ./run.sh                       test the paper's system, trained in ../librispeech
#   ./run.sh --trained ../librispeech/exp/my_own       test another experiment; the scores go to its directory
#   ./run_mini.sh                                      test the model of ../librispeech/run_mini.sh on a tiny corpus
#   ./run.sh --help                                    all options
#
# Scores are computed with the STM file and its global mapping (GLM), as by NIST.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus eval2000 \
  --corpus_dir "${EVAL2000:-}" \
  --trained ../librispeech/exp/whisper_large_v2_vicuna_13b_qf80 \
  --test_sets "callhome switchboard" \
  --nj 8 \
  --ngpu 1 \
  "$@" \
  --typed EVAL2000="${EVAL2000:-}" ./run.sh "$@"
