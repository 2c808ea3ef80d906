#!/bin/bash
# A SLURM array: each job takes a share of the cells, on a GPU of its own, and
# needs none of the others. Edit the three lines below, then
#
#     launch/slurm_array.sh --dry-run    # shows the job
#     launch/slurm_array.sh              # submits it
#     launch/slurm_array.sh --config.seeds='(0,1)'    # flags go to the launcher
#     uv run python -m bdjax.launch report WORKDIR    # joins what is there
#
# A planted model and its defenses are in one share, dealt by chance: with fewer
# than a few models (attacks x regimes x seeds) to a share some jobs have none.
#
# Two minutes before its time is over a job saves, leaves, and queues again.
# Shares that are killed continue when the array is submitted again.
set -euo pipefail

CONFIG=configs/cifar10_defenses.py # what to run
WORKDIR=runs/cifar10_defenses      # where results go: a folder all nodes see
SHARES=4 RESOURCES="--partition=gpu --gres=gpu:1 --cpus-per-task=8 --time=12:00:00"

dry=no more=""
for flag in "$@"; do
  if [ "$flag" = --dry-run ]; then dry=yes; else more+=" $(printf %q "$flag")"; fi
done
cd "$(dirname "$0")/.."
job() {
  cat <<SCRIPT
#!/bin/bash
#SBATCH --job-name=bdjax --ntasks=1 --array=0-$((SHARES - 1)) $RESOURCES
#SBATCH --requeue --open-mode=append --signal=TERM@120
#SBATCH --output="$WORKDIR/slurm-%A-%a.log"
export SRUN_CPUS_PER_TASK=\${SLURM_CPUS_PER_TASK:-1}
status=0
srun uv run --extra cuda13 python -m bdjax.launch --config $(printf %q "$CONFIG") --workdir $(printf %q "$WORKDIR") --grace_seconds=90 --shard=\$SLURM_ARRAY_TASK_ID/$SHARES$more || status=\$?
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
