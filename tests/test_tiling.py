import jax
import numpy as np
import pytest

from ar_seg_jax import tiling
from ar_seg_jax.models.autoregressive import Autoregressive


@pytest.mark.parametrize('stride', [2, 4])
def test_tiles_give_what_the_whole_image_gives(monkeypatch, stride):
    monkeypatch.setattr(tiling, 'TILE', 64)
    model = Autoregressive(num_clusters=5, blocks=2, output_stride=stride)
    image = np.random.default_rng(0).integers(0, 256, (150, 201, 3), dtype=np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), image[None, :32, :32] / np.float32(255))
    scores = jax.jit(lambda tile: model.apply(variables, tile[None] / np.float32(255))[0]['scores'])
    whole = np.asarray(scores(image))[0]
    tiled = tiling.segment(lambda tile: np.asarray(scores(tile))[0].argmax(-1).astype(np.uint8), image)
    # where two clusters are equally likely to rounding, either may win
    best = np.sort(whole, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(tiled[clear], whole.argmax(-1)[clear])
