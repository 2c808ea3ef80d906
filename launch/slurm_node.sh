#!/bin/bash
# One SLURM node, all of its GPUs: they share the batches of each cell, or the
# members of a sweep. Edit the three lines below, then
#
#     launch/slurm_node.sh --dry-run     # shows the job
#     launch/slurm_node.sh               # submits it
#     launch/slurm_node.sh --config.seeds='(0,1)'    # flags go to the launcher
#
# Two minutes before its time is over the job saves, leaves, and queues again.
set -euo pipefail

CONFIG=configs/cifar10_small.py    # what to run
WORKDIR=runs/cifar10_small         # where results go: a folder all nodes see
RESOURCES="--partition=gpu --gres=gpu:8 --cpus-per-task=32 --time=12:00:00"

dry=no more=""
for flag in "$@"; do
  if [ "$flag" = --dry-run ]; then dry=yes; else more+=" $(printf %q "$flag")"; fi
done
cd "$(dirname "$0")/.."
job() {
  cat <<SCRIPT
#!/bin/bash
#SBATCH --job-name=bdjax --nodes=1 --ntasks=1 $RESOURCES
#SBATCH --requeue --open-mode=append --signal=TERM@120
#SBATCH --output="$WORKDIR/slurm-%j.log"
export SRUN_CPUS_PER_TASK=\${SLURM_CPUS_PER_TASK:-1}
status=0
srun uv run --extra cuda13 python -m bdjax.launch --config $(printf %q "$CONFIG") --workdir $(printf %q "$WORKDIR") --grace_seconds=90$more || status=\$?
if [ \$status = 75 ]; then scontrol requeue "\$SLURM_JOB_ID"; fi  # saved
exit \$status
SCRIPT
}

if [ $dry = yes ]; then
  job
  exit
fi
mkdir -p "$WORKDIR"
job | sbatch
