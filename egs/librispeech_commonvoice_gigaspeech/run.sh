#!/usr/bin/env bash
# The paper's joint training (table 5): LibriSpeech, Common Voice and GigaSpeech, tested on all of them and on telephone speech.
#
# The data directories are those of the other recipes, which have to be prepared first:
#
#   ../commonvoice/run.sh --stop_stage 1; ../gigaspeech/run.sh --train_sets l --stop_stage 1; ../eval2000/run.sh --stop_stage 1
#   LIBRISPEECH=/data/LibriSpeech ./run.sh
#   ./run.sh --set data.shares=[1,0.5,0.25]            how much of each an epoch has, in the order of the training sets
#   ./run_mini.sh                                      the same of the mini corpora of these recipes (run theirs first)
#   ./run.sh --help                                    every other option
#
# All are scored with Whisper's normaliser for English, telephone speech with its own GLM.
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
