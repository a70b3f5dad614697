"""No method keeps, on the way of a training step, what grows faster than the pixels of a batch."""

import jax
import jax.numpy as jnp
import pytest

from ar_seg_jax.objectives import k_means
from ar_seg_jax.training import gradients
from tests.support import jaxprs, methods, tiny


def _largest(function, *arguments):
    return max(map(jaxprs.size, jaxprs.intermediates(function, *arguments)))


def _largest_of_step(name, images, side):
    """Numbers of the largest array of loss and gradients. Nothing of it is computed."""
    method = methods.made(name, side=side)
    image = jax.ShapeDtypeStruct((images, side, side, 3), jnp.uint8)
    batch, key = {'image': image, 'label': jax.ShapeDtypeStruct(image.shape[:3], jnp.uint8)}, jax.random.key(0)
    params, extra = jax.eval_shape(method.init, key, image)
    return _largest(
        lambda *state_and_batch: gradients.of_batch(method, *state_and_batch, key=key, time=tiny.BEGINNING), params, extra, batch
    )


@pytest.mark.parametrize('name', methods.NAMES)
def test_no_array_of_a_step_grows_faster_than_the_pixels(name):
    """Sides are so large that a table of pairs of cells of 16 pixels, one number for each, would be the largest array."""
    one, more_pixels, more_images = (_largest_of_step(name, *sizes) for sizes in ((4, 2048), (4, 4096), (8, 2048)))
    assert one < more_pixels < 4.2 * one  # borders of convolutions are not four times as many
    assert one <= more_images < 2.1 * one


def test_a_table_of_pairs_would_be_seen():
    def pairs(image):
        cells = image[:, ::16, ::16].reshape(-1, 3)
        return jnp.sum(jnp.einsum('ic,jc->ij', cells, cells) ** 2)

    one, more = (_largest(jax.grad(pairs), jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)) for side in (2048, 4096))
    assert (one, more) == (2**28, 2**32)


@pytest.mark.parametrize('clusters', [27, 500])
def test_k_means_sees_one_block_at_a_time(clusters):
    """So all images times clusters are nowhere: the largest array has the places of one block, times clusters."""
    block = k_means.Block(jax.ShapeDtypeStruct((8, 400, 128), jnp.float32), jax.ShapeDtypeStruct((8, 400), bool))
    centroids = jax.ShapeDtypeStruct((clusters, 128), jnp.float32)
    for blocks in (1, 50):
        assert _largest(k_means._totals, centroids, [block] * blocks) == 8 * 400 * clusters
