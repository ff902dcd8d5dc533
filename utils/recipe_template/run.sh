#!/usr/bin/env bash
# my_corpus: description and source of the corpus.
#
#   MY_CORPUS=/path/to/my_corpus ./run.sh              all stages, from the corpus to the scores
#   ./run.sh --stage 2                                 the same with data/{train,dev,test} from `speechllm import`
#   ./run.sh --stage 3 --ngpu 4                        training and later stages
#   ./run.sh --help                                    all options
#
# The normaliser keeps only the letters A to Z: for languages other than English, set --normalizer whisper-basic.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus my_corpus \
  --corpus_dir "${MY_CORPUS:-}" \
  --train_sets train \
  --valid_set dev \
  --test_sets test \
  --config conf/train.yaml \
  --normalizer librispeech \
  --nj 2 \
  --ngpu 0 \
  "$@" \
  --typed MY_CORPUS="${MY_CORPUS:-}" ./run.sh "$@"
