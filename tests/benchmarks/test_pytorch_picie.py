"""The PyTorch PiCIE of the benchmarks learns as the package does. Both compute in float64, see test_pytorch_reference.py."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ar_seg_jax import build
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.objectives import k_means as package_k_means
from ar_seg_jax.objectives.k_means import Block, Clusters
from ar_seg_jax.training.optimizer import Optimizer
from ar_seg_jax.training.state import TrainState
from ar_seg_jax.training.step import make_train_step
from benchmarks import picie_epoch
from tests.support import tiny

torch = pytest.importorskip('torch', reason='PyTorch, which only benchmarks need, is not installed')
picie = importlib.import_module('benchmarks.pytorch_picie')
k_means = importlib.import_module('benchmarks.pytorch_k_means')
reference = importlib.import_module('benchmarks.pytorch_reference')
torch.set_num_threads(1)  # on tiny maps more of them wait for each other

WORKLOAD = picie_epoch.Workload(
    batch=3, side=64, batches=2, base=2, width=5, clusters=4, initial_batches=1, iterations=2, colours='none', dtype='float64'
)

pytestmark = pytest.mark.usefixtures('float64')


def test_an_epoch_has_the_losses_of_ours_from_its_centroids():
    """Labels, their weights, the cut of the second view, the loss and its gradients: the loss of the second batch follows a step.

    The package gets the statistics that PyTorch's cluster passes left behind, which move in them as they do in the released code.
    """
    method = build.method(WORKLOAD.to_config())
    images = jnp.split(tiny.random_batch(6, 64)['image'], 2)
    params, extra = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        jax.jit(method.init, compiler_options=tiny.QUICK)(jax.random.key(0), images[0]),
    )

    other = picie.Network(3, WORKLOAD.base, WORKLOAD.width).double()
    reference.load(other, params['network'], extra['batch_stats']['network'])
    views = jax.jit(functools.partial(picie_epoch.views, method, extra), compiler_options=tiny.QUICK)
    batches = [picie.Batch.of(*views(image), 'cpu') for image in images]
    adam, functions = torch.optim.Adam(other.parameters(), 1e-3), picie.Functions()
    targets = picie.refresh(other, batches, WORKLOAD.clusters, method.search, functions)
    state = other.state_dict()
    statistics = jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(state['.'.join([*(key.key for key in path[:-1]), f'running_{path[-1].key}'])].numpy()),
        extra['batch_stats']['network'],
    )
    found = picie.train(other, adam, batches, targets, functions)

    extra = {
        **extra,
        'batch_stats': {'network': statistics},
        'teacher': {'params': params['network'], 'batch_stats': statistics},
        'clusters': {
            f'main of the {view} view': Clusters(jnp.asarray(each.centroids.numpy()), jnp.asarray(each.weights.numpy()) * 1e3)
            for view, each in zip(('first', 'second'), targets, strict=True)
        },
    }
    tx, zero = optax.adam(1e-3), jnp.zeros((), int)
    state = TrainState(zero, params, extra, tx.init(params), jax.random.key(0), zero, zero)
    step = jax.jit(make_train_step(method, Optimizer(tx), epochs=Epochs(6, 3)), compiler_options=tiny.QUICK)
    for image, loss in zip(images, found, strict=True):
        state, metrics, _ = step(state, {'image': image})
        assert metrics['empty_clusters'] < 1 - 1 / WORKLOAD.clusters  # several labels
        assert loss.item() == pytest.approx(metrics['loss'].item(), rel=1e-6)


@pytest.mark.parametrize('start', [[0, 3, 5], [0, 999]], ids=['vectors', 'one far from all vectors, which gets none'])
def test_k_means_finds_the_clusters_of_ours(start, monkeypatch):
    """From the same centroids. Of two clusters of which one is empty the other is split, whatever is drawn."""
    vectors = np.random.default_rng(0).normal(size=(3, 2, 50, 4))
    vectors[..., 0] += np.repeat([0, 4], 25)
    far = np.full((1, 4), 99.0)
    centroids = np.concatenate([vectors[0].reshape(-1, 4), far])[np.minimum(start, 100)]
    monkeypatch.setattr(package_k_means, '_drawn', lambda *_: jnp.asarray(centroids))
    monkeypatch.setattr(k_means, 'drawn', lambda *_: torch.tensor(centroids))
    blocks = [Block(jnp.asarray(each), jnp.ones(each.shape[:2], bool)) for each in vectors]
    expected = package_k_means.find(blocks[:2], len(start), 4, jax.random.key(0))
    found = k_means.find(torch.tensor(vectors[:2].reshape(-1, 4)), len(start), 4)
    assert (found.sizes > 0).all()
    for _ in range(2):
        np.testing.assert_allclose(found.centroids, expected.centroids, rtol=1e-9)
        np.testing.assert_array_equal(found.sizes, expected.sizes)
        expected = package_k_means.update(expected, blocks[2])
        found = k_means.update(found, torch.tensor(vectors[2].reshape(-1, 4)))


def test_places_are_drawn_from_all_and_none_twice():
    maps = torch.arange(2 * 6.0).reshape(2, 1, 2, 3)
    first, second = picie.drawn(maps, 4).reshape(2, 4)
    assert len(set(first.tolist())) == len(set(second.tolist())) == 4
    assert set(first.tolist()) < set(range(6)) and set(second.tolist()) < set(range(6, 12))
    assert picie.drawn(maps, 0).flatten().tolist() == list(range(12))
