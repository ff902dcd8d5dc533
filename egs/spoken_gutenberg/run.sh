#!/usr/bin/env bash
# Public-domain novels, spoken on the spot by free synthesisers: speech to train on where there is little or none.
#
#   ./run.sh --stop_stage 1                            speak them, and write data/train_spoken for other recipes:
#   ../librispeech/run.sh --train_sets "train_960 ../spoken_gutenberg/data/train_spoken" ...
#   python ../../tools/make_spoken_gutenberg.py ../../downloads/spoken_gutenberg --engines hibari flite joe
#                                                      before: without Kokoro's voices, in minutes instead of hours
#   ./run.sh --ngpu 1                                  train and test on them alone
#   ./run_mini.sh                                      all of it on a tiny corpus made on the spot
#   ./run.sh --help                                    every option
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus librispeech \
  --corpus_dir "${SPOKEN_GUTENBERG:-../../downloads/spoken_gutenberg}" \
  --corpus_maker ../../tools/make_spoken_gutenberg.py \
  --train_sets train_spoken \
  --valid_set dev_spoken \
  --test_sets test_spoken \
  --config ../librispeech/conf/whisper_tiny_smollm2_fc.yaml \
  --normalizer librispeech \
  --nj 2 \
  --ngpu 0 \
  "$@" \
  --typed SPOKEN_GUTENBERG="${SPOKEN_GUTENBERG:-}" ./run.sh "$@"
