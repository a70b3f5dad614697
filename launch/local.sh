#!/usr/bin/env bash
# Trains on this machine: launch/local.sh --config configs/textures.py [--workdir DIR] [--processes=N] [--config.key=value ...]
# JAX_EXTRA=cuda12 launch/local.sh ... sets up the JAX for GPUs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec .venv/bin/python -m ar_seg_jax.main "$@"
