# shellcheck shell=bash source=egs/cmd.sh
. ../cmd.sh
