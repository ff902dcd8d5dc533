#!/usr/bin/env bash
# Start Slurm on this single machine, to try utils/run_slurm.sh and utils/train_slurm.sh without a cluster.
#
#   sudo apt-get install slurm-wlm munge
#   sudo bash tools/start_slurm.sh [DIRECTORY]     directory of state and logs; default: /tmp/slurm
#   sudo bash tools/start_slurm.sh --stop
#
# Do not use it on a machine of a cluster: it writes /etc/slurm/slurm.conf, and fails if another one exists.
set -euo pipefail

conf=/etc/slurm/slurm.conf mark="# written by tools/start_slurm.sh"
if [[ ${1:-} == --stop ]]; then
  pkill -x slurmd || true
  pkill -x slurmctld || true
  if [[ -f $conf ]] && grep -qF "$mark" "$conf"; then rm "$conf"; fi
  exit
fi
state=$(realpath -m "${1:-/tmp/slurm}")
((EUID == 0)) || { echo "start_slurm: found user $(id -un), expected root, the user of the daemons; use sudo" >&2; exit 1; }
for program in munged slurmctld slurmd; do
  command -v "$program" >/dev/null || { echo "start_slurm: no $program; apt-get install slurm-wlm munge" >&2; exit 1; }
done
if [[ -f $conf ]] && ! grep -qF "$mark" "$conf"; then
  echo "start_slurm: found $conf, which this script did not write, expected none; this machine may belong to a cluster" >&2
  exit 1
fi

mkdir -p "$state"/{ctld,slurmd} "$(dirname "$conf")"
host=$(hostname -s)
cat >"$conf" <<EOF
$mark
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/slurmd
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
[[ -f /etc/munge/munge.key ]] || mungekey --create
mkdir -p /run/munge
chown munge: /run/munge /etc/munge/munge.key
pgrep -x munged >/dev/null || runuser -u munge -- munged
pgrep -x slurmctld >/dev/null || slurmctld
pgrep -x slurmd >/dev/null || slurmd
for _ in $(seq 60); do
  if [[ $(sinfo --noheader --format=%t 2>/dev/null) =~ ^(idle|mix|alloc)$ ]]; then
    sinfo
    exit
  fi
  sleep 1
done
echo "start_slurm: found no node after 60 s, expected one; see $state/slurmctld.log and $state/slurmd.log" >&2
exit 1
