# shellcheck shell=bash
# The environment that tools/install.sh made, unless one that has speechllm is active.
if ! command -v speechllm >/dev/null; then
  . ../../.venv/bin/activate
fi
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
