"""Five steps and an evaluation on all devices of a mesh. As a program: by two processes of two devices each.

python tests/support/parity.py RESULT.npz
"""

import itertools
import os
import sys
from pathlib import Path

import numpy as np

SHAPE = (8, 24, 24, 3)
STEPS = 5


def batch(index, labels=()):
    """Smooth random images, labelled with what `labels` have for the number of the batch, or 0."""
    rng = np.random.default_rng((1, index))  # for which no unit is so near to 0 that rounding decides whether it is on
    coarse = rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    return {'image': coarse.repeat(4, 1).repeat(4, 2), 'label': np.full(SHAPE[:3], dict(labels).get(index, 0), np.uint8)}


def labelled(index):
    """A batch whose labels are random."""
    return {**batch(index), 'label': np.random.default_rng(index - 100).integers(0, 3, SHAPE[:3], np.uint8)}


def trained(mesh, tx, shard_state=False):
    """Losses, the last state, whole, and the confusion counts of four batches with random labels."""
    import jax

    from ar_seg_jax.evaluation.scoring import make_counter
    from ar_seg_jax.training.optimizer import Optimizer
    from tests.support import feeds, tiny

    task = feeds.task(tiny.ac(num_clusters=4), Optimizer(tx, shard_state=shard_state), feeds.Numbered(batch, mesh))
    state, train_step, method = task.initial_state(), task.compiled_step(), task.method
    count = make_counter(lambda state, image: method.predict(state.params, state.extra, image)['scores'].argmax(-1), 4, 3)
    losses = []
    for placed in itertools.islice(task.data.placed(), STEPS):
        with jax.set_mesh(mesh):
            state, metrics, _ = train_step(state, placed)
        losses.append(float(metrics['loss']))
    state = task.whole(state)
    scored = itertools.islice(feeds.Numbered(labelled, mesh).placed(100), 4)
    return losses, state, sum(np.asarray(count(state.model, placed)) for placed in scored)


def represented(mesh, tx):
    """Loss of a step of ARL, and the centroids of the state before it: this process's own copy."""
    import jax

    from ar_seg_jax.training.optimizer import Optimizer
    from tests.support import feeds, tiny

    task = feeds.task(tiny.arl(width=4, orderings='raster', sampling='random'), Optimizer(tx), feeds.Numbered(batch, mesh))
    state = task.initial_state()
    centroids = np.asarray(task.read_out(state).extra['centroids'].addressable_data(0))
    with jax.set_mesh(mesh):
        _, metrics, _ = task.compiled_step()(state, next(task.data.placed()))
    return float(metrics['loss']), centroids


def leaves(state):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.params, state.extra))]


def flat(tree):
    """All numbers of a tree in a row."""
    import jax

    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def main(result):
    import jax
    import optax

    from ar_seg_jax import sharding
    from ar_seg_jax.training import peers

    peers.join(processes.place(), heartbeat_seconds=30)
    assert (jax.process_count(), jax.device_count()) == (2, 4)
    tx = optax.sgd(0.1, momentum=0.9)
    losses, state, confusion = trained(sharding.make_mesh(), tx)
    _, split, _ = trained(sharding.make_mesh(), tx, shard_state=True)
    loss, centroids = represented(sharding.make_mesh(), optax.sgd(0.1))
    np.savez(f'{result}.arl{jax.process_index()}.npz', loss=loss, centroids=centroids)
    if jax.process_index() == 0:
        arrays = {f'leaf_{index:03d}': leaf for index, leaf in enumerate(leaves(state))}
        moments = {name: flat(one.opt_state) for name, one in (('whole', state), ('split', split))}
        np.savez(result, losses=losses, confusion=confusion, **arrays, **moments)


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.support import compilation

    os.environ['XLA_FLAGS'] = compilation.flags(devices=2)
    from ar_seg_jax import processes

    sys.exit(main(sys.argv[1]) if processes.place() else processes.start(2))
