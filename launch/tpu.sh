#!/usr/bin/env bash
# Trains on a TPU pod slice; runs on every host of it, with the workdir and the data on a disk that all of them mount:
#   gcloud compute tpus tpu-vm ssh NAME --worker=all --command='cd ar_seg_jax && launch/tpu.sh --config configs/coco3_batch64.py --workdir DIR'
set -euo pipefail
JAX_EXTRA=${JAX_EXTRA-tpu}
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec .venv/bin/python -m ar_seg_jax.main --distributed "$@"
