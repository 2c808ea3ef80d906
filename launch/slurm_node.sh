#!/bin/bash
# One SLURM node, all of its GPUs: they share the batches of each cell, or the
# members of a sweep. Edit the three lines below, then
#
#     launch/slurm_node.sh --dry-run     # shows the job
#     launch/slurm_node.sh               # submits it
#
# A job that is killed or runs out of time continues when it is submitted again.
set -euo pipefail

CONFIG=configs/cifar10_small.py    # what to run
WORKDIR=runs/cifar10_small         # where results go: a folder all nodes see
RESOURCES="--partition=gpu --gres=gpu:8 --cpus-per-task=32 --time=12:00:00"

cd "$(dirname "$0")/.."
job() {
  cat <<SCRIPT
#!/bin/bash
#SBATCH --job-name=bdjax --nodes=1 --ntasks=1 $RESOURCES
#SBATCH --output=$WORKDIR/slurm-%j.log
uv run --extra cuda13 python -m bdjax.launch --config $CONFIG --workdir $WORKDIR
SCRIPT
}

if [ "${1:-}" = --dry-run ]; then
  job
  exit
fi
mkdir -p "$WORKDIR"
job | sbatch
