#!/bin/bash
# A GKE JobSet: one pod per GPU node, as one run; the pods meet at the first.
# The image needs Python 3.11 or newer, uv and this checkout in /bdjax. Edit the
# three lines below, then
#
#     launch/gke_jobset.sh --dry-run     # shows the JobSet
#     launch/gke_jobset.sh               # kubectl apply
#
# If a pod is lost, all restart, three times at most, and the run continues.
set -euo pipefail

IMAGE=us-docker.pkg.dev/my-project/my-repo/bdjax  # holds the checkout
CONFIG=configs/base.py NODES=2 GPUS=8             # what to run, on what
CLAIM=shared WORKDIR=/shared/runs/base            # volume that all pods mount

jobset() {
  cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: bdjax
spec:
  failurePolicy:
    maxRestarts: 3
  replicatedJobs:
  - name: train
    template:
      spec:
        parallelism: $NODES
        completions: $NODES
        backoffLimit: 0
        template:
          spec:
            restartPolicy: Never
            containers:
            - name: bdjax
              image: $IMAGE
              workingDir: /bdjax
              command: [uv, run, --extra, cuda13, python, -m, bdjax.launch]
              args:
              - --config=$CONFIG
              - --workdir=$WORKDIR
              - --coordinator=bdjax-train-0-0.bdjax:1234
              - --processes=$NODES
              - --process_id=\$(JOB_COMPLETION_INDEX)
              env:
              - name: JOB_COMPLETION_INDEX
                valueFrom:
                  fieldRef:
                    fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
              resources:
                limits:
                  nvidia.com/gpu: $GPUS
              volumeMounts:
              - name: shared
                mountPath: /shared
            volumes:
            - name: shared
              persistentVolumeClaim:
                claimName: $CLAIM
YAML
}

if [ "${1:-}" = --dry-run ]; then
  jobset
  exit
fi
jobset | kubectl apply -f -
