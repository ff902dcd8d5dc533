# shellcheck shell=bash
# run_child COMMAND ...: run a command, and end it together with the script that reads this file.
#
# INT, TERM and HUP are passed on to the command, which is waited for: a training saves its state first. Then the script
# ends, with the status 130, 143 or 129. A second signal is passed on as well.
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
  set -m # a process group of its own, so that the terminal's Ctrl-C reaches it once, from here
  "$@" </dev/null &
  child=$!
  set +m
  ((ended == 0)) || kill "$child"
  while :; do
    status=0
    wait "$child" 2>/dev/null || status=$?
    kill -0 "$child" 2>/dev/null || break # or a signal came, and the command is still at work
  done
  if ((ended > 0)); then
    kill -- "-$child" 2>/dev/null || true # processes that it left behind
    exit "$ended"
  fi
  child=''
  return "$status"
}
