# shellcheck shell=bash
# The environment that tools/install.sh made, unless another one is active.
if [[ -z ${VIRTUAL_ENV:-} && -f ../../.venv/bin/activate ]]; then
  . ../../.venv/bin/activate
fi
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
