#!/bin/bash
# Several SLURM nodes as one run: a process per GPU, which share the batches of
# each cell. The batch size must be a multiple of their number. SLURM tells the
# processes where to meet. Edit the three lines below, then
#
#     launch/slurm_nodes.sh --dry-run    # shows the job
#     launch/slurm_nodes.sh              # submits it
#
# If one process is lost, the others stop; the job continues when it is submitted
# again.
set -euo pipefail

CONFIG=configs/base.py             # what to run
WORKDIR=runs/base                  # where results go: a folder all nodes see
RESOURCES="--partition=gpu --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 --cpus-per-task=8 --time=12:00:00"

cd "$(dirname "$0")/.."
job() {
  cat <<SCRIPT
#!/bin/bash
#SBATCH --job-name=bdjax $RESOURCES
#SBATCH --output=$WORKDIR/slurm-%j.log
uv sync --extra cuda13  # once, not by every process
srun uv run --no-sync python -m bdjax.launch --config $CONFIG --workdir $WORKDIR
SCRIPT
}

if [ "${1:-}" = --dry-run ]; then
  job
  exit
fi
mkdir -p "$WORKDIR"
job | sbatch
