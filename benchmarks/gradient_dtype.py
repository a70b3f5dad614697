"""What is lost when devices send each other their gradients in bfloat16 (`optimizer.gradient_dtype`).

    python -m benchmarks.gradient_dtype --steps 50

AC on smooth noise, on simulated CPU devices. The error of the sum is the norm of its difference from the sum in float32, over the
norm of that. A CPU adds bfloat16 in float32 and rounds once; 'one after another' rounds after each addition, as a ring of devices
may. Then the loss of trainings that differ in this alone, and beside them one on a single device, whose sums have another order.
Writes benchmarks/results/gradient_dtype_cpu.json.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from ar_seg_jax import build, parallel, sharding
from ar_seg_jax.epochs import Epochs, Time
from ar_seg_jax.training import gradients
from ar_seg_jax.training.state import create_state
from ar_seg_jax.training.step import make_train_step
from benchmarks import report
from benchmarks.update_rates import noise
from benchmarks.workload import Workload
from configs import common

SHOWN = (1, 10, 20, 30, 40, 50)  # steps


def mesh_of(devices: int) -> Mesh:
    return jax.make_mesh((devices,), ('data',), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def errors(method, state, batch, mesh: Mesh) -> dict[str, float]:
    """Of the sum of the first step's gradients in bfloat16, relative."""

    def contributions(params, extra, batch):
        now = Time(jnp.int32(0), jnp.int32(0))
        return gradients.of_batch(method, params, extra, batch, key=state.key, time=now, summed=lambda copies: copies)[1]

    with jax.set_mesh(mesh):
        copies = jax.jit(contributions)(state.params, state.extra, jax.device_put(batch, sharding.split_batch(mesh)))
        sums = [jax.jit(functools.partial(parallel.summed, dtype=dtype))(copies) for dtype in ('float32', 'bfloat16')]
    exact, sent = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(one)]) for one in sums)
    rounded = np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(copies)], axis=1)
    ring = functools.reduce(np.add, rounded.astype(jnp.bfloat16)).astype(np.float32)
    return {
        name: float(np.linalg.norm(one - exact) / np.linalg.norm(exact))
        for name, one in (('at once', sent), ('one after another', ring))
    }


def losses(config, method, image, mesh: Mesh, dtype: str, steps: int) -> list[float]:
    """Of a training from the same state on other images in each step."""
    optimizer = build.transformation({**config, 'optimizer': {**config['optimizer'], 'gradient_dtype': dtype}}, method, steps)
    step = jax.jit(make_train_step(method, optimizer, epochs=Epochs(len(image), len(image))))
    state = jax.device_put(create_state(method, optimizer.tx, 0, image), sharding.replicated(mesh))
    found = []
    for number in range(steps):
        batch = jax.device_put({'image': jnp.roll(image, 5 * number, axis=2)}, sharding.split_batch(mesh))
        with jax.set_mesh(mesh):
            state, metrics, _ = step(state, batch)
        found.append(float(metrics['loss']))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--devices', type=int, default=8)
    parser.add_argument('--steps', type=int, default=50)
    arguments = parser.parse_args()
    jax.config.update('jax_num_cpu_devices', arguments.devices)
    workload = Workload(batch=2 * arguments.devices, side=32, blocks=2, displacement=2)
    optimizer = {**common.adam(), 'learning_rate': 1e-3}
    config = {**workload.to_config(), 'optimizer': optimizer, 'frozen': ()}
    method, image = build.method(config), noise((workload.batch, workload.side, workload.side, 3))
    many, one = mesh_of(arguments.devices), mesh_of(1)
    state = create_state(method, build.transformation(config, method, 1).tx, 0, image)
    found = errors(method, jax.device_put(state, sharding.replicated(many)), {'image': image}, many)
    print(', '.join(f'{name}: {error:.2%}' for name, error in found.items()))
    trainings = {
        f'{arguments.devices} devices, float32': losses(config, method, image, many, 'float32', arguments.steps),
        f'{arguments.devices} devices, bfloat16': losses(config, method, image, many, 'bfloat16', arguments.steps),
        '1 device, float32': losses(config, method, image, one, 'float32', arguments.steps),
    }
    shown = [step for step in SHOWN if step <= arguments.steps]
    rows = [(name, *(f'{values[step - 1]:.5f}' for step in shown)) for name, values in trainings.items()]
    print(report.table(('loss after step', *map(str, shown)), rows))
    report.save('gradient_dtype', {'errors': found, 'losses': trainings})


if __name__ == '__main__':
    main()
