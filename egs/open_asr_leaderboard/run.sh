#!/usr/bin/env bash
# Test sets of the Open ASR Leaderboard (https://huggingface.co/spaces/hf-audio/open_asr_leaderboard), or other sets on the hub.
#
#   OPEN_ASR_LEADERBOARD=/data/leaderboard ./run.sh    test the shipped model on sets downloaded to this folder
#   ./run.sh --trained ../librispeech/exp/my_own       test an experiment, packed model or hub id
#   ./run.sh --test_sets "ami openslr--librispeech_asr--all--test.clean"
#                                                      ORG--NAME[--FOLDER[--SPLIT]]: parquet files FOLDER/SPLIT* of a hub id
#   ./run.sh --test_sets mine                          parquet files of your own, mine.parquet or mine/*.parquet
#   ./run_mini.sh                                      test the model of ../librispeech/run_mini.sh on a tiny set
#   ./run.sh --help                                    all options
#
# Requires pip install 'speechllm[datasets]'. RESULTS.md begins with one table of WER and RTFx (seconds of speech per second of
# decoding) of the model and of Whisper's own decoder, with batch, device and input; `speechllm results exp/A exp/B ...`
# compares more models. The normaliser is Whisper's for English, without its list of British spellings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ../../utils/recipe.sh \
  --corpus open_asr_leaderboard \
  --corpus_dir "${OPEN_ASR_LEADERBOARD:-}" \
  --trained base-smollm2-whisper-ctc \
  --test_sets "ami earnings22 gigaspeech librispeech_clean librispeech_other spgispeech tedlium voxpopuli" \
  --normalizer whisper-english \
  --baseline en \
  --nj 8 \
  --ngpu 1 \
  "$@" \
  --typed OPEN_ASR_LEADERBOARD="${OPEN_ASR_LEADERBOARD:-}" ./run.sh "$@"
