# shellcheck shell=bash
# run_child COMMAND ...: run a command that ends together with the script that reads this file.
#
# INT, TERM and HUP are passed on to the command, and the script waits for it, because training saves its state first. Then
# the script ends with the status 130, 143 or 129. A second signal is passed on as well.
child='' ended=0

pass_on() { # name of a signal, its number
  ended=$((128 + $2))
  [[ -n $child ]] || exit "$ended"
  kill "-$1" "$child" 2>/dev/null || true
}
trap 'pass_on INT 2' INT
trap 'pass_on TERM 15' TERM
trap 'pass_on HUP 1' HUP

run_child() {
  local status=0
  child=starting
  set -m # a separate process group: Ctrl-C of the terminal reaches it only through this script
  "$@" </dev/null &
  child=$!
  set +m
  ((ended == 0)) || kill "$child"
  while :; do
    status=0
    wait "$child" 2>/dev/null || status=$?
    kill -0 "$child" 2>/dev/null || break # otherwise a signal interrupted wait, and the command is still running
  done
  if ((ended > 0)); then
    kill -- "-$child" 2>/dev/null || true # remaining processes of the group
    exit "$ended"
  fi
  child=''
  return "$status"
}
