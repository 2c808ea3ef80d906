#!/bin/bash
# TPU slices of a GKE cluster that xpk (github.com/AI-Hypercomputer/xpk) made: a
# pod per worker, as one run. The image needs Python 3.11 or newer, uv and this
# checkout in /bdjax. Edit the three lines below, then
#
#     launch/xpk.sh --dry-run            # shows the command
#     launch/xpk.sh                      # submits the workload
#     launch/xpk.sh --config.seeds='(0,1)'    # flags go to the launcher
#
# When its machines are taken away the workload saves, and restarts on others.
set -euo pipefail

IMAGE=us-docker.pkg.dev/my-project/my-repo/bdjax # holds the checkout
CONFIG=configs/base.py WORKDIR=gs://my-bucket/runs/base # what to run; results
SLICES="--cluster=my-cluster --tpu-type=v5litepod-16 --num-slices=1"

dry=no more=""
for flag in "$@"; do
  if [ "$flag" = --dry-run ]; then dry=yes; else more+=" $(printf %q "$flag")"; fi
done
run="cd /bdjax && uv run --extra tpu --extra gcs python -m bdjax.launch --config $(printf %q "$CONFIG") --workdir $(printf %q "$WORKDIR")$more"
read -r -a slices <<<"$SLICES"
submit=(xpk workload create --workload=bdjax "${slices[@]}" --docker-image="$IMAGE"
  --max-restarts=50 --restart-on-user-code-failure)
if [ $dry = yes ]; then
  quote="'\\''"
  echo "${submit[*]} --command '${run//\'/$quote}'"
  exit
fi
"${submit[@]}" --command "$run"
