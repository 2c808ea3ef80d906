#!/bin/bash
# A SLURM array: each job takes a share of the cells, on a GPU of its own, and
# needs none of the others. Edit the three lines below, then
#
#     launch/slurm_array.sh --dry-run    # shows the job
#     launch/slurm_array.sh              # submits it
#     uv run python -m bdjax.launch report WORKDIR    # joins what is there
#
# Shares that are killed continue when the array is submitted again.
set -euo pipefail

CONFIG=configs/cifar10_defenses.py # what to run
WORKDIR=runs/cifar10_defenses      # where results go: a folder all nodes see
SHARES=8 RESOURCES="--partition=gpu --gres=gpu:1 --cpus-per-task=8 --time=12:00:00"

cd "$(dirname "$0")/.."
job() {
  cat <<SCRIPT
#!/bin/bash
#SBATCH --job-name=bdjax --ntasks=1 --array=0-$((SHARES - 1)) $RESOURCES
#SBATCH --output=$WORKDIR/slurm-%A-%a.log
uv run --extra cuda13 python -m bdjax.launch --config $CONFIG --workdir $WORKDIR --shard=\$SLURM_ARRAY_TASK_ID/$SHARES
SCRIPT
}

if [ "${1:-}" = --dry-run ]; then
  job
  exit
fi
mkdir -p "$WORKDIR"
job | sbatch
