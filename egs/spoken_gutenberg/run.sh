#!/usr/bin/env bash
# Public-domain novels spoken by free synthesisers: training data for small or missing corpora.
#
#   ./run.sh --stop_stage 1                            synthesise them, and write data/train_spoken for other recipes:
#   ../librispeech/run.sh --train_sets "train_960 ../spoken_gutenberg/data/train_spoken" ...
#   python ../../tools/make_spoken_gutenberg.py ../../downloads/spoken_gutenberg --engines hibari flite joe
#                                                      run first to leave out Kokoro's voices: minutes, not hours
#   ./run.sh --ngpu 1                                  train and test on this corpus alone
#   ./run_mini.sh                                      all stages on a tiny synthesised corpus
#   ./run.sh --help                                    all options
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
