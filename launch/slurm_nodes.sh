#!/bin/bash
# Several SLURM nodes as one run: a process per GPU, which share the batches of
# each cell. SLURM tells the processes where to meet. Edit the three lines
# below, then
#
#     launch/slurm_nodes.sh --dry-run    # shows the job
#     launch/slurm_nodes.sh              # submits it
#     launch/slurm_nodes.sh --config.seeds='(0,1)'    # flags go to the launcher
#
# Two minutes before its time is over the job saves, leaves, and queues again. If
# one process is lost, the others stop; the job continues when it is submitted
# again.
set -euo pipefail

CONFIG=configs/base.py             # what to run
WORKDIR=runs/base                  # where results go: a folder all nodes see
RESOURCES="--partition=gpu --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 --cpus-per-task=8 --time=12:00:00"

dry=no more=""
for flag in "$@"; do
  if [ "$flag" = --dry-run ]; then dry=yes; else more+=" $(printf %q "$flag")"; fi
done
cd "$(dirname "$0")/.."
job() {
  cat <<SCRIPT
#!/bin/bash
#SBATCH --job-name=bdjax $RESOURCES
#SBATCH --requeue --open-mode=append --signal=TERM@120
#SBATCH --output="$WORKDIR/slurm-%j.log"
export SRUN_CPUS_PER_TASK=\${SLURM_CPUS_PER_TASK:-1}
status=0
uv sync --extra cuda13  # once, not by every process
srun uv run --no-sync python -m bdjax.launch --config $(printf %q "$CONFIG") --workdir $(printf %q "$WORKDIR") --grace_seconds=90$more || status=\$?
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
