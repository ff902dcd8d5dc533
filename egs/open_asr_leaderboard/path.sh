# shellcheck shell=bash source=utils/path.sh
. ../../utils/path.sh
