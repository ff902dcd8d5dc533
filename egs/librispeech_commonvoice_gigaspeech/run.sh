#!/usr/bin/env bash
# The paper's joint training (table 5): LibriSpeech, Common Voice and GigaSpeech, tested on all of them and on telephone speech.
#
# It uses the data directories of the other recipes, which have to be prepared first:
#
#   ../commonvoice/run.sh --stop_stage 1; ../gigaspeech/run.sh --train_sets l --stop_stage 1; ../eval2000/run.sh --stop_stage 1
#   LIBRISPEECH=/data/LibriSpeech ./run.sh
#   ./run.sh --set data.shares=[1,0.5,0.25]            fraction of each training set per epoch, in their order
#   ./run_mini.sh                                      the same on the mini corpora of these recipes (run theirs first)
#   ./run.sh --help                                    all options
#
# All sets are scored with Whisper's normaliser for English, except telephone speech, which is scored with its GLM.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus librispeech \
  --corpus_dir "${LIBRISPEECH:-}" \
  --train_sets "train_960 ../commonvoice/data/train ../gigaspeech/data/l" \
  --valid_set dev_clean \
  --test_sets "test_clean test_other ../commonvoice/data/test ../gigaspeech/data/test ../eval2000/data/callhome ../eval2000/data/switchboard" \
  --config ../librispeech/conf/whisper_large_v2_vicuna_13b_qf80.yaml \
  --normalizer whisper-english \
  --nj 16 \
  --ngpu 8 \
  "$@" \
  --typed LIBRISPEECH="${LIBRISPEECH:-}" ./run.sh "$@"
