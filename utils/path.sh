# shellcheck shell=bash
# Activate the environment of tools/install.sh, unless speechllm is already on the PATH.
if ! command -v speechllm >/dev/null; then
  [[ -f ../../.venv/bin/activate ]] || { echo "speechllm is not installed: bash tools/install.sh" >&2; exit 1; }
  . ../../.venv/bin/activate
fi
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
