import jax
import numpy as np
import pytest

from ar_seg_jax import tiling
from ar_seg_jax.models.autoregressive import Autoregressive


@pytest.mark.parametrize(
    ('stride', 'size'),
    [(2, (150, 201)), (4, (150, 201)), (4, (260, 257)), (4, (193, 320))],
    ids=lambda value: 'x'.join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_tiles_give_what_the_whole_image_gives(monkeypatch, stride, size):
    monkeypatch.setattr(tiling, 'TILE', 64)
    model = Autoregressive(num_clusters=5, blocks=2, output_stride=stride)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), image[None, :32, :32] / np.float32(255))
    scores = jax.jit(lambda tile: model.apply(variables, tile[None] / np.float32(255))[0]['scores'])
    whole = np.asarray(scores(image))[0]
    tiled = tiling.segment(lambda tile: np.asarray(scores(tile))[0].argmax(-1).astype(np.uint8), image)
    # where two clusters are equally likely to rounding, either may win
    best = np.sort(whole, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(tiled[clear], whole.argmax(-1)[clear])


@pytest.mark.parametrize(
    ('size', 'shapes'), [((6000, 6000), 1), ((1023, 641), 2), ((1023, 1027), 4), ((700, 30), 1), ((640, 3), 1), ((643, 1), 1)]
)
def test_every_pixel_is_kept_once_and_tiles_have_few_shapes(size, shapes):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = set()

    def one(tile):
        found.add(tile.shape)
        return tile[..., 0]

    np.testing.assert_array_equal(tiling.segment(one, image), image[..., 0])
    assert len(found) == shapes
