#!/usr/bin/env bash
# Run the stages of recipe.sh on a tiny synthesised corpus, on the CPU: run_mini.sh CORPUS [options of recipe.sh]
set -euo pipefail
corpus=$1
shift
exec "$(dirname "${BASH_SOURCE[0]}")/recipe.sh" \
  --corpus "$corpus" \
  --corpus_dir "../../downloads/mini_$corpus" \
  --corpus_maker "../../tools/make_mini_$corpus.py" \
  --config ../librispeech/conf/quickstart.yaml \
  --ngpu 0 \
  --nj 2 \
  --work_dir mini \
  "$@"
