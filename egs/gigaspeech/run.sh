#!/usr/bin/env bash
# GigaSpeech: audiobooks, podcasts and YouTube (https://github.com/SpeechColab/GigaSpeech).
#
#   GIGASPEECH=/data/gigaspeech ./run.sh               1,000 hours (M); /data/gigaspeech has GigaSpeech.json and audio
#   ./run.sh --train_sets xl --nj 64                   10,000 hours
#   GIGASPEECH_MD5=false ./run.sh                      without verifying the checksum of every file
#   ./run_mini.sh                                      all stages on a tiny synthesised corpus
#   ./run.sh --help                                    all options
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus gigaspeech \
  --corpus_dir "${GIGASPEECH:-}" \
  --train_sets m \
  --valid_set dev \
  --test_sets test \
  --config ../librispeech/conf/whisper_large_v2_vicuna_13b_qf80.yaml \
  --normalizer gigaspeech \
  --nj 32 \
  --ngpu 8 \
  "$@" \
  --typed GIGASPEECH="${GIGASPEECH:-}" ./run.sh "$@"
