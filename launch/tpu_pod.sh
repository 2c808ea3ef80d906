#!/bin/bash
# All workers of a Cloud TPU pod as one run: the checkout is copied to each, and
# the same command runs on all. JAX finds the other workers by itself. Edit the
# three lines below, then
#
#     launch/tpu_pod.sh --dry-run        # shows the commands
#     launch/tpu_pod.sh                  # runs them
#
# If a worker is lost, the others stop; the same command continues.
set -euo pipefail

TPU="my-pod --zone=us-central2-b"  # name and zone of the TPU VM
CONFIG=configs/base.py             # what to run
WORKDIR=/mnt/shared/runs/base      # where results go: a folder all workers see

cd "$(dirname "$0")/.."
remote="cd bdjax && (command -v uv >/dev/null || pip install --user uv) && \
python3 -m uv run --extra tpu python -m bdjax.launch --config $CONFIG --workdir $WORKDIR"

run() {
  if [ "$DRY" = yes ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

DRY=no
if [ "${1:-}" = --dry-run ]; then DRY=yes; fi
read -r -a tpu <<<"$TPU"
run gcloud compute tpus tpu-vm scp --recurse --worker=all . "${tpu[0]}:bdjax" "${tpu[@]:1}"
run gcloud compute tpus tpu-vm ssh "${tpu[@]}" --worker=all --command "$remote"
