#!/bin/bash
# A Cloud TPU pod slice, asked for as a queued resource: when it is there, each
# worker starts the run as a service, by itself, and JAX finds the other workers.
# Nothing here stays open. Edit the three lines below, then
#
#     launch/tpu_pod.sh --dry-run        # shows the commands, and what workers do
#     launch/tpu_pod.sh                  # uploads the checkout and asks for a pod
#     launch/tpu_pod.sh --config.seeds='(0,1)'    # flags go to the launcher
#     gcloud compute tpus queued-resources describe my-pod --zone=us-west4-a
#     gcloud compute tpus tpu-vm ssh my-pod --zone=us-west4-a --worker=0 --command='journalctl -fu bdjax'
#     gcloud compute tpus queued-resources delete my-pod --zone=us-west4-a --force
#
# A pod costs until it is deleted. A worker that restarts, or has lost another,
# goes on by itself; when a spot pod was taken away, delete it and ask again: the
# run continues. --node-count=2 --node-prefix=my-pod for --node-id: two slices.
set -euo pipefail

POD="my-pod --node-id=my-pod --zone=us-west4-a --accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --spot"
CONFIG=configs/base.py             # what to run
WORKDIR=gs://my-bucket/runs/base   # where results go, and the checkout

dry=no more=""
for flag in "$@"; do
  if [ "$flag" = --dry-run ]; then dry=yes; else more+=" $(printf %q "$flag")"; fi
done
cd "$(dirname "$0")/.."
checkout=$(printf %q "$WORKDIR/bdjax.tar.gz")
worker() {
  cat <<SCRIPT
#!/bin/bash
set -e
export HOME=/root
mkdir -p /opt/bdjax && cd /opt/bdjax
gcloud storage cat $checkout | tar -xz
python3 -m pip install --quiet uv
python3 -m uv sync --no-dev --extra tpu --extra gcs
systemd-run --unit=bdjax --setenv=HOME=/root --working-directory=/opt/bdjax \\
    --property=Restart=on-failure --property=RestartSec=30 \\
    --property='RestartPreventExitStatus=1 2' \\
    .venv/bin/python -m bdjax.launch --config $(printf %q "$CONFIG") --workdir $(printf %q "$WORKDIR")$more
SCRIPT
}

read -r -a pod <<<"$POD"
ask=(gcloud compute tpus queued-resources create "${pod[@]}")
if [ $dry = yes ]; then
  echo "git ls-files -z --cached --others --exclude-standard | tar --null -T - -cz | gcloud storage cp - $checkout"
  echo "${ask[*]} --metadata-from-file=startup-script=FILE"
  echo "# FILE:"
  worker
  exit
fi
git ls-files -z --cached --others --exclude-standard | tar --null -T - -cz |
  gcloud storage cp - "$WORKDIR/bdjax.tar.gz"
file=$(mktemp)
trap 'rm "$file"' EXIT
worker >"$file"
"${ask[@]}" --metadata-from-file=startup-script="$file"
