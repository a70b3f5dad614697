#!/usr/bin/env bash
# Trains on this machine: launch/local.sh --config configs/textures.py [--workdir DIR] [--config.key=value ...]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec .venv/bin/python -m ar_seg_jax.main "$@"
