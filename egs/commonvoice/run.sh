#!/usr/bin/env bash
# Common Voice: sentences read by volunteers (https://commonvoice.mozilla.org), any release and language.
#
#   COMMON_VOICE=/data/commonvoice ./run.sh            the paper's release, /data/commonvoice/cv-corpus-7.0-2021-07-21/en
#   ./run.sh --lang de --release cv-corpus-17.0-2024-03-15 --normalizer none
#   ./run.sh --train_sets validated_train              all validated clips except dev, test and their speakers
#   ./run_mini.sh                                      all stages on a tiny synthesised corpus
#   ./run.sh --help                                    all options
#
# The normaliser is Whisper's for English; the paper does not state its normaliser.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

typed=("$@") lang=en release=cv-corpus-7.0-2021-07-21 others=()
while (($#)); do
  case $1 in
    --lang | --release)
      [[ -n ${2:-} ]] || { echo "$0: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    *)
      others+=("$1")
      shift
      ;;
  esac
done

exec ../../utils/recipe.sh \
  --corpus commonvoice \
  --corpus_dir "${COMMON_VOICE:+$COMMON_VOICE/$release/$lang}" \
  --train_sets train \
  --valid_set dev \
  --test_sets test \
  --config ../librispeech/conf/whisper_large_v2_vicuna_13b_qf80.yaml \
  --normalizer whisper-english \
  --nj 16 \
  --ngpu 8 \
  "${others[@]}" \
  --typed COMMON_VOICE="${COMMON_VOICE:-}" ./run.sh "${typed[@]}"
