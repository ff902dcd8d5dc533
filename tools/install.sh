#!/usr/bin/env bash
# Install speechllm in editable mode to .venv next to setup.py, or to the active environment. A second call returns at
# once unless setup.py or the requested packages have changed.
#
#   bash tools/install.sh [--active] [--extra NAME] [--pip "PACKAGE ..."] [--apt "PACKAGE ..."]
#
#   --active   use the first Python in PATH and its environment instead of .venv
#   --extra    extra of setup.py: test (default) or dev
#   --pip      further Python packages
#   --apt      Debian packages, installed if apt-get is available and permitted; otherwise skipped
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
active=false extra=test pip_packages=() apt_packages=()
need_gb=12

die() {
  echo "install: $1" >&2
  exit "${2:-1}"
}

parse_options() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --active) active=true && shift && continue ;;
      --extra | --pip | --apt) [ $# -gt 1 ] || die "$1: found no value, expected one" 2 ;;
      *) die "unknown option $1, expected --active, --extra, --pip or --apt" 2 ;;
    esac
    case "$1" in
      --extra) extra=$2 ;;
      --pip) read -r -a pip_packages <<<"$2" ;;
      --apt) read -r -a apt_packages <<<"$2" ;;
    esac
    shift 2
  done
}

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

find_python() {
  local name
  for name in python3 python3.12 python3.11 python3.13 python3.10 python; do
    if command -v "$name" >/dev/null && new_enough "$name"; then
      command -v "$name"
      return
    fi
  done
  die "no Python 3.10 or newer in PATH, found $(python3 --version 2>&1 || true); install one and run again"
}

# Print the Python of the target environment; create .venv if it is missing.
environment_python() {
  local python
  if $active; then
    python=$(command -v python || command -v python3 || true)
    if [ -z "$python" ] || ! new_enough "$python"; then
      die "--active: found $("${python:-python}" --version 2>&1 || true), expected Python 3.10 or newer; activate another"
    fi
    echo "$python"
    return
  fi
  if ! "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv >&2
    echo "Creating .venv with $("$python" --version)." >&2
    "$python" -m venv --clear "$root/.venv" >&2 || die "$python cannot make a venv; on Debian: apt-get install python3-venv"
  fi
  echo "$root/.venv/bin/python"
}

apt_install() {
  local package as_root=()
  for package in "$@"; do
    if dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
      continue
    elif ! command -v apt-get >/dev/null; then
      echo "apt-get is not available: continuing without $package."
      continue
    elif [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
      echo "apt-get requires root: continuing without $package."
      continue
    fi
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    echo "Installing the Debian package $package."
    apt_get install -y --no-install-recommends "$package" ||
      { apt_get update && apt_get install -y --no-install-recommends "$package"; } ||
      echo "apt-get failed: continuing without $package."
  done
}

apt_get() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >/dev/null 2>&1 </dev/null
}

# Check that the disk has space for the installation; most of it is torch with its CUDA libraries.
check_disk() {
  local free_gb
  ! "$1" -c 'import torch' 2>/dev/null || return 0
  free_gb=$(df -Pk "$("$1" -c 'import sys; print(sys.prefix)')" | awk 'NR == 2 {print int($4 / 1e6)}')
  [ "$free_gb" -ge "$need_gb" ] || die "found $free_gb GB free on the disk, expected $need_gb GB; free space and run again"
}

main() {
  local python prefix wanted stamp
  parse_options "$@"
  [ "${#apt_packages[@]}" = 0 ] || apt_install "${apt_packages[@]}"
  python=$(environment_python)
  prefix=$("$python" -c 'import sys; print(sys.prefix)')
  wanted=("${root}[$extra]" "${pip_packages[@]}")
  stamp="$prefix/.speechllm-$({ echo "${wanted[@]}" && cat "$root/setup.py"; } | sha256sum | cut -c 1-16)"
  if [ -e "$stamp" ]; then
    echo "speechllm is installed in $prefix."
    return
  fi
  check_disk "$python"
  echo "Installing speechllm with pip into $prefix (about 3 GB of downloads the first time)."
  "$python" -m pip install --disable-pip-version-check --editable "${wanted[@]}" </dev/null |
    { grep -E '^ *Downloading |^(Installing collected|Successfully installed)' || true; }
  touch "$stamp"
}

main "$@"
