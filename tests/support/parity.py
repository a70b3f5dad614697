"""Five steps and an evaluation on all devices of a mesh. As a program: by two processes of two devices each.

python tests/training/parity.py RESULT.npz
"""

import itertools
import os
import sys
from pathlib import Path

import numpy as np

SHAPE = (8, 24, 24, 3)
STEPS = 5


def batches(start=0, spoiled=()):
    """Smooth random images, from batch `start` on; those of `spoiled` batches are labelled 1, the others 0."""
    for index in itertools.count(start):
        rng = np.random.default_rng(index)
        coarse = rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
        yield {'image': coarse.repeat(4, 1).repeat(4, 2), 'label': np.full(SHAPE[:3], index in spoiled, np.uint8)}


def trained(mesh, tx):
    """Losses, the last state, and the confusion counts of four batches with random labels."""
    import jax

    from ar_seg_jax.evaluation.segmentation import make_counter
    from ar_seg_jax.methods.ac import AC
    from ar_seg_jax.models.autoregressive import Autoregressive
    from ar_seg_jax.objectives.mutual_information import InformationLoss
    from ar_seg_jax.training import loop, sharding
    from ar_seg_jax.training.step import make_train_step

    method = AC(Autoregressive(num_clusters=4, blocks=1), InformationLoss(displacement=2))
    state = loop.initial_state(method, tx, 0, SHAPE, mesh)
    train_step = jax.jit(make_train_step(method, tx))
    count = make_counter(lambda state, image: method.predict(state.params, state.extra, image)['scores'].argmax(-1), 4, 3)

    def place(batch):
        own = {name: np.split(array, jax.process_count())[jax.process_index()] for name, array in batch.items()}
        return sharding.place(own, sharding.split_batch(mesh))

    losses = []
    for batch in itertools.islice(batches(), STEPS):
        state, metrics, _ = train_step(state, place(batch))
        losses.append(float(metrics['loss']))
    labelled = [
        {**batch, 'label': np.random.default_rng(index).integers(0, 3, SHAPE[:3], np.uint8)}
        for index, batch in enumerate(itertools.islice(batches(100), 4))
    ]
    return losses, state, sum(np.asarray(count(state, place(batch))) for batch in labelled)


def represented(mesh, tx):
    """Loss of a step of ARL, and the centroids of the state before it: this process's own copy."""
    import jax

    from ar_seg_jax.methods.arl import ARL
    from ar_seg_jax.models.autoregressive import Autoregressive
    from ar_seg_jax.models.critics import SeparableCritics
    from ar_seg_jax.objectives.info_nce import ContrastiveLoss
    from ar_seg_jax.training import loop, sharding
    from ar_seg_jax.training.step import make_train_step

    method = ARL(Autoregressive(num_clusters=4, blocks=1), SeparableCritics(), ContrastiveLoss(), 3)
    state = loop.initial_state(method, tx, 0, SHAPE, mesh)
    extra = method.refresh(state.params, state.extra, itertools.islice(batches(), 2), key=jax.random.key(0))
    (batch,) = itertools.islice(batches(), 1)
    own = {name: np.split(array, jax.process_count())[jax.process_index()] for name, array in batch.items()}
    _, metrics, _ = jax.jit(make_train_step(method, tx))(state, sharding.place(own, sharding.split_batch(mesh)))
    return float(metrics['loss']), np.asarray(extra['centroids'].addressable_data(0))


def leaves(state):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.params, state.extra))]


def main(result):
    import jax
    import optax

    from ar_seg_jax.training import peers, sharding

    peers.join(processes.place(), heartbeat_seconds=30)
    assert (jax.process_count(), jax.device_count()) == (2, 4)
    losses, state, confusion = trained(sharding.make_mesh(), optax.sgd(0.1, momentum=0.9))
    loss, centroids = represented(sharding.make_mesh(), optax.sgd(0.1))
    np.savez(f'{result}.arl{jax.process_index()}.npz', loss=loss, centroids=centroids)
    if jax.process_index() == 0:
        arrays = {f'leaf_{index:03d}': leaf for index, leaf in enumerate(leaves(state))}
        np.savez(result, losses=losses, confusion=confusion, **arrays)


if __name__ == '__main__':
    os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0'
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from ar_seg_jax import processes

    sys.exit(main(sys.argv[1]) if processes.place() else processes.start(2))
