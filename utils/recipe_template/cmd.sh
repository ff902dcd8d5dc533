# shellcheck shell=bash disable=SC2034
# How jobs are run: on this machine, side by side.
dump_cmd=../../utils/run_local.sh
decode_cmd=../../utils/run_local.sh
