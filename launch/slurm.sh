#!/usr/bin/env bash
# Trains on Slurm, one process for each GPU, submitted from the root of the repository on a shared disk:
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 launch/slurm.sh --config configs/coco3_batch64.py --workdir runs/coco3
# Two minutes before the time limit, and when the job is pre-empted, the run saves; submitted again it goes on.
#SBATCH --job-name=ar_seg_jax
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
JAX_EXTRA=${JAX_EXTRA-cuda12}
source "${SLURM_SUBMIT_DIR:-.}/launch/setup.sh"
exec srun .venv/bin/python -m ar_seg_jax.main --distributed "$@"
