#!/usr/bin/env bash
# Set up what the tests need and run them all; arguments go to pytest.
#
#   bash tools/test.sh [--active] [PYTEST ARGUMENT ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install=(--extra dev --apt "sctk pocketsphinx-testdata flite g++ python3-dev chromium chromium-driver")
if [ "${1:-}" = --active ]; then
  shift
  bash tools/install.sh "${install[@]}" --active
else
  bash tools/install.sh "${install[@]}"
  export PATH="$PWD/.venv/bin:$PATH"
fi
python tools/offline_models/fetch_models.py whisper-tiny.en smollm2-135m-instruct
python tools/offline_models/fetch_models.py whisper-base.en llama2-tokenizer ||
  echo "Going on without Whisper base.en or the Llama-2 tokenizer: the tests that need them are skipped."
exec python -m pytest "$@"
