#!/bin/bash
# A GKE JobSet, queued by Kueue: a pod per node, as one run. GPU pods meet at the
# first; GKE tells TPU pods where. The image needs Python 3.11 or newer, uv and
# this checkout in /bdjax. Edit the four lines below, and what `devices` asks for,
# then
#
#     launch/gke_jobset.sh --dry-run     # shows the JobSet
#     launch/gke_jobset.sh               # kubectl apply
#     launch/gke_jobset.sh --config.seeds='(0,1)'    # flags go to the launcher
#
# When a node is taken away its pod saves and all restart, as often as need be; if
# a pod fails otherwise, three times. The run continues each time.
set -euo pipefail

ON=${ON:-gpu}                                     # gpu or tpu
IMAGE=us-docker.pkg.dev/my-project/my-repo/bdjax  # holds the checkout
CONFIG=configs/base.py WORKDIR=/shared/runs/base  # what to run; results
QUEUE=user-queue CLAIM=shared                     # Kueue's; a volume on all pods

devices() {
  case $ON in
    gpu)
      pods=2 resource="nvidia.com/gpu: 8" extra=cuda13
      selector="{cloud.google.com/gke-accelerator: nvidia-h100-80gb}"
      meet=(--coordinator=bdjax-train-0-0.bdjax:1234 "--processes=$pods"
        "--process_id=\$(JOB_COMPLETION_INDEX)")
      ;;
    tpu) # 16 chips of v5e, 4 to a node
      pods=4 resource="google.com/tpu: 4" extra=tpu
      selector="{cloud.google.com/gke-tpu-accelerator: tpu-v5-lite-podslice, cloud.google.com/gke-tpu-topology: 4x4}"
      meet=()
      ;;
    *)
      echo "ON is '$ON', but must be gpu or tpu." >&2
      exit 2
      ;;
  esac
}

dry=no more=()
for flag in "$@"; do
  if [ "$flag" = --dry-run ]; then dry=yes; else more+=("$flag"); fi
done
devices
args() {
  for flag in "--config=$CONFIG" "--workdir=$WORKDIR" ${meet[@]+"${meet[@]}"} ${more[@]+"${more[@]}"}; do
    echo "              - '${flag//\'/\'\'}'"
  done
}

jobset() {
  cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: bdjax
  labels:
    kueue.x-k8s.io/queue-name: $QUEUE
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: 3
    rules:
    - name: takenAway
      action: RestartJobSetAndIgnoreMaxRestarts
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: train
    replicas: 1
    template:
      spec:
        parallelism: $pods
        completions: $pods
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes: {containerName: bdjax, operator: In, values: [75]}
          - action: FailJob
            onPodConditions: [{type: DisruptionTarget, status: "True"}]
        template:
          spec:
            restartPolicy: Never
            nodeSelector: $selector
            containers:
            - name: bdjax
              image: $IMAGE
              workingDir: /bdjax
              command: [uv, run, --extra, $extra, python, -m, bdjax.launch]
              args:
$(args)
              env:
              - name: JOB_COMPLETION_INDEX
                valueFrom:
                  fieldRef:
                    fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
              resources:
                limits:
                  $resource
              volumeMounts:
              - name: shared
                mountPath: /shared
            volumes:
            - name: shared
              persistentVolumeClaim:
                claimName: $CLAIM
YAML
}

if [ $dry = yes ]; then
  jobset
  exit
fi
jobset | kubectl apply -f -
