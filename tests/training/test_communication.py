"""The compiled step sends sums over images, and nothing whose size grows with the images."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ar_seg_jax import layers, sharding
from ar_seg_jax.training.optimizer import Optimizer
from benchmarks import communication, programs
from tests.support import tiny

CLUSTERS = 5


def _step(side=16, batch_size=16, micro_batches=1, model=None, **options):
    method = tiny.ac(model, num_clusters=CLUSTERS, displacement=1, **options)
    lowered, state = programs.lower_step(method, Optimizer(optax.adam(1e-3)), (batch_size, side, side, 3), micro_batches)
    return communication.collectives(lowered.compile().as_text()), state


@functools.cache
def _plain():
    return _step()


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'model': {'blocks': 2, 'attention': True}, 'orderings': 'all'},
        {'model': {'dropout': 0.1}, 'sobel': True},
        {'collapsed': False},
        {'micro_batches': 2},
    ],
    ids=lambda options: '-'.join(options) or 'plain',
)
def test_only_gradients_statistics_and_sums_are_sent(options):
    sent, state = _step(**options) if options else _plain()
    found = communication.account(sent, state, CLUSTERS)
    parameters = sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    assert found['other'] == 0
    # Once, however many views and parts of a batch there are.
    assert found['gradients'] == parameters
    parts = options.get('micro_batches', 1)
    # Statistics forward and backward, of each pass over the images: one, or two over each part.
    statistics = 4 * sum(leaf.size for leaf in jax.tree.leaves(state.extra))
    assert statistics <= found['statistics'] <= 4 * parts * statistics
    # One joint, or one for each of the 3 x 3 displacements, forward and backward.
    joint = 4 * CLUSTERS**2
    assert joint <= found['sums'] <= (joint if options.get('collapsed', True) else 2 * 9 * joint) + 4


def test_the_form_of_accelerators_sends_nothing_else_either(monkeypatch):
    monkeypatch.setattr(layers, 'platform', lambda: 'tpu')
    sent, state = _step(model={'blocks': 2, 'attention': True})
    assert {array.kind for array in sent} == {'all-reduce'}
    parameters = sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    assert communication.account(sent, state, CLUSTERS)['gradients'] == parameters
    assert parameters < sum(array.bytes for array in sent) < 1.1 * parameters


@pytest.mark.parametrize('negatives', [0, 5])
def test_arl_sends_its_keys_once_and_their_gradients_once(negatives):
    width, batch_size, places = 6, 16, 16
    method = tiny.arl(width=width, num_clusters=CLUSTERS, negatives=negatives, orderings='raster', sampling='random')
    lowered, state = programs.lower_step(method, Optimizer(optax.adam(1e-3)), (batch_size, 16, 16, 3))
    sent = communication.collectives(lowered.compile().as_text())
    drawn = negatives or places
    assert [array.shape for array in sent if array.kind == 'all-gather'] == [
        *([(batch_size, drawn)] if negatives else []),  # which of the drawn ones count
        (batch_size, drawn, 2 * width),
    ]
    others = [array for array in sent if array.kind != 'all-gather']
    images = batch_size // jax.device_count()
    assert [array.shape for array in others if array.kind != 'all-reduce'] == [(images, drawn, 2 * width)]  # scattered sums
    assert communication.account([array for array in others if array.kind == 'all-reduce'], state, CLUSTERS)['other'] == 0


def test_the_bytes_do_not_depend_on_the_size_of_images_and_batch():
    # Both at once, and by different factors, so that what depends on either has another shape.
    assert sorted(_step(side=32, batch_size=24)[0], key=str) == sorted(_plain()[0], key=str)


def test_a_gather_of_images_would_be_seen():
    mesh = sharding.make_mesh()
    split = sharding.split_batch(mesh)
    image = jax.ShapeDtypeStruct((8, 6, 5), jnp.float32, sharding=split)
    gather = jax.jit(lambda image: image * 2, out_shardings=sharding.replicated(mesh))
    (sent,) = communication.collectives(gather.lower(image).compile().as_text())
    assert (sent.kind, sent.shape, sent.bytes) == ('all-gather', (8, 6, 5), 4 * 8 * 6 * 5)
    turned = jax.jit(lambda image: image[::-1], out_shardings=NamedSharding(mesh, PartitionSpec('data')))
    kinds = {array.kind for array in communication.collectives(turned.lower(image).compile().as_text())}
    assert kinds and 'all-reduce' not in kinds


def test_what_a_loop_sends_counts_every_round():
    mesh = sharding.make_mesh()
    image = jax.ShapeDtypeStruct((8, 6, 5), jnp.float32, sharding=sharding.split_batch(mesh))

    def rounds(image):
        def add(total, factor):
            return total + jnp.tanh(factor * image).sum(0), None

        return jax.lax.scan(add, jnp.zeros((6, 5)), jnp.arange(7.0))[0]

    program = jax.jit(rounds, out_shardings=sharding.replicated(mesh)).lower(image).compile()
    assert sum(array.bytes for array in communication.collectives(program.as_text())) == 7 * 4 * 6 * 5


def test_sums_are_counted_by_their_bytes():
    mesh = sharding.make_mesh()
    image = jax.ShapeDtypeStruct((8, 6, 5), jnp.float32, sharding=sharding.split_batch(mesh))
    both = jax.jit(lambda image: (image.sum(0), jnp.max(image)), out_shardings=sharding.replicated(mesh))
    sent = communication.collectives(both.lower(image).compile().as_text())
    assert {array.kind for array in sent} == {'all-reduce'}
    assert sorted(array.bytes for array in sent) == [4, 4 * 6 * 5]
