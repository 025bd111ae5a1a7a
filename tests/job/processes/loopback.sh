#!/bin/sh
# Runs a command in namespaces of its own: no network but loopback, and no process outlives it.
#   loopback.sh [slurm SCRATCH] COMMAND ...     slurm: with a one-node Slurm, its files in the folder SCRATCH
set -eu
if [ -z "${HARMONIA_LOOPBACK:-}" ]; then
  export HARMONIA_LOOPBACK=1
  exec unshare --net --pid --fork --kill-child --mount-proc "$0" "$@"
fi
ip link set lo up
mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray  # where Ray notes its cluster: two at a time must not meet
if [ "$1" = slurm ]; then
  scratch=$2; shift 2
  ip address add 192.0.2.1/32 dev lo  # Slurm binds nothing where every address is of the loopback
  mkdir -p "$scratch/state" "$scratch/spool"
  mkdir -p /run/munge
  mount -t tmpfs none /run/munge && chown munge: /run/munge && chmod 755 /run/munge
  setpriv --reuid munge --regid munge --clear-groups munged --pid-file /run/munge/pid --log-file /run/munge/log
  cat > "$scratch/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$scratch/state
SlurmdSpoolDir=$scratch/spool
SlurmctldPidFile=$scratch/slurmctld.pid
SlurmdPidFile=$scratch/slurmd.pid
SlurmctldLogFile=$scratch/slurmctld.log
SlurmdLogFile=$scratch/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=requeue_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=$(hostname) Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF="$scratch/slurm.conf"
  slurmctld -f "$SLURM_CONF"
  slurmd -f "$SLURM_CONF"
  for _ in $(seq 100); do sinfo -h -o %t 2>/dev/null | grep -q idle && break; sleep 0.3; done
fi
"$@"
