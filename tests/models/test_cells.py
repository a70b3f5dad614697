"""What all models say about where their cells are."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from ar_seg_jax import build
from configs import common

GEOMETRIES = [(name, geometry) for name in ('autoregressive', 'resnet_fpn', 'vgg') for geometry in ('', 'paper')]
GEOMETRIES += [(name, '') for name in ('colours', 'compact_unet', 'segformer', 'unet', 'vit')]


def _made(name, geometry):
    options = getattr(common, name)() | ({'geometry': geometry} if geometry else {})
    del options['name']
    return build.MODELS[name](heads=FrozenDict(), **options)


def test_all_models_are_looked_at():
    assert {name for name, _ in GEOMETRIES} == set(build.MODELS)


@pytest.mark.parametrize(('name', 'geometry'), GEOMETRIES)
def test_cells_are_interpolated_from_where_they_are_said_to_be(name, geometry):
    """Cells that hold the place of their centre give that of each pixel between them."""
    model = _made(name, geometry)
    if model.first_cell is None:
        assert (name, geometry) == ('vgg', 'paper')
        return
    cells = 6
    places = model.first_cell + model.output_stride * np.arange(cells)
    maps = jnp.asarray(np.stack(np.meshgrid(places, places, indexing='ij'), -1)[None], jnp.float32)
    side = cells * model.output_stride
    found = np.asarray(model.to_pixels(maps, side, side))[0]
    inside = slice(model.output_stride, side - model.output_stride)
    rows, columns = np.mgrid[inside, inside]
    np.testing.assert_allclose(found[inside, inside], np.stack([rows, columns], -1), rtol=1e-5)
