"""Whether an accelerator computes what a CPU does: the loss and the gradients of the AC training step on both.

    python -m benchmarks.agreement [--batch 8] [--blocks 5] [--dtype float32]

From the same weights, images and orderings. Prints, for the highest precision of products and for the one that training takes,
the difference of the loss and the largest and the median of the gradients' relative differences, by norm of each array, and
writes benchmarks/results/agreement_<sizes>_<platform>.json. Ends with status 1 unless those of the highest precision
are below 1e-3.
"""

import argparse
import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ar_seg_jax import build
from ar_seg_jax.epochs import Time
from ar_seg_jax.training import gradients
from benchmarks import report
from benchmarks.package_step import random_images
from benchmarks.workload import Workload

_LARGEST = 1e-3
_PRECISIONS = {'highest': 'highest', 'as trained': None}


def compute(workload: Workload, device: jax.Device, precision: str | None) -> tuple[float, list[np.ndarray]]:
    """Loss and gradients on a device, from weights that were drawn on the CPU."""
    method = build.method(workload.to_config())
    with jax.default_device(jax.devices('cpu')[0]):
        batch = {'image': random_images(workload)}
        params, extra = jax.jit(method.init)(jax.random.key(0), batch['image'])
    params, extra, batch = jax.device_put((params, extra, batch), device)

    def loss(params):
        return gradients.loss(method, params, extra, batch, key=jax.random.key(1), time=Time(jnp.int32(0), jnp.int32(0)))[0]

    with jax.default_device(device), jax.default_matmul_precision(precision):
        value, found = jax.jit(jax.value_and_grad(loss))(params)
    return float(value), [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(found)]


def differences(one: tuple[float, list[np.ndarray]], other: tuple[float, list[np.ndarray]]) -> dict[str, float]:
    """Of losses, and of gradients: |a - b| / |b| of each array, or |a| where b is zero."""
    relative = [np.linalg.norm(a - b) / (np.linalg.norm(b) or 1) for a, b in zip(one[1], other[1], strict=True)]
    return {'loss': abs(one[0] - other[0]), 'largest': float(np.max(relative)), 'median': float(np.median(relative))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    Workload.add_flags(parser)
    parser.set_defaults(batch=8, blocks=5)
    workload = Workload.from_flags(parser.parse_args())
    expected = compute(workload, jax.devices('cpu')[0], 'highest')
    found: dict[str, Any] = {
        name: differences(compute(workload, jax.devices()[0], precision), expected) for name, precision in _PRECISIONS.items()
    }
    rows = [(name, *(f'{value:.1e}' for value in one.values())) for name, one in found.items()]
    print(f'Loss on the CPU: {expected[0]:.6f}\n\n{report.table(("products", "loss", "gradients, largest", "median"), rows)}')
    report.save('agreement', {'workload': dataclasses.asdict(workload), 'differences': found}, workload.name)
    return int(not all(value < _LARGEST for value in found['highest'].values()))  # NaN is none of them


if __name__ == '__main__':
    sys.exit(main())
