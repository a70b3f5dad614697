import itertools
import tracemalloc

import jax
import numpy as np
import pytest

from ar_seg_jax import layers
from ar_seg_jax.prediction import tiling
from tests.support import tiny

SHAPES = [((6000, 6000), 1), ((1023, 641), 2), ((1023, 1027), 4), ((700, 30), 1), ((640, 3), 1), ((643, 1), 1), ((1, 644), 1)]


@pytest.mark.parametrize(
    ('stride', 'size'),
    [(2, (150, 201)), (4, (150, 201)), (4, (260, 257)), (4, (193, 320)), (4, (196, 202))],
    ids=lambda value: 'x'.join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_tiles_give_what_the_whole_image_gives(monkeypatch, stride, size):
    monkeypatch.setattr(tiling, 'TILE', 64)
    model = tiny.autoregressive(clusters=5, blocks=2, output_stride=stride)
    assert model.reach <= tiling.MARGIN - tiling.RAMP // 2  # so that blended tiles are right wherever they have a say
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), image[None, :32, :32] / np.float32(255))

    @jax.jit
    def scores(tile):
        logits = model.apply(variables, tile[None] / np.float32(255))['decoder']
        return jax.nn.softmax(layers.upsample(logits, stride, *tile.shape[:2]))[0]

    whole = np.asarray(scores(image))
    # where two clusters are equally likely to rounding, either may win
    best = np.sort(whole, axis=-1)
    clear = best[..., -1] - best[..., -2] > 1e-4
    assert clear.mean() > 0.9
    cut = tiling.segment(lambda tile: np.asarray(scores(tile).argmax(-1).astype(np.uint8)), image, stride)
    blended = tiling.blend(lambda tile: np.asarray(scores(tile)), image, stride)
    for tiled in (cut, blended):
        np.testing.assert_array_equal(tiled[clear], whole.argmax(-1)[clear])


@pytest.mark.parametrize(('stride', 'size'), [(3, (200, 331)), (8, (196, 204)), (14, (350, 401)), (32, (470, 220))])
def test_the_cells_of_a_tile_are_cells_of_the_image_whatever_the_stride(monkeypatch, stride, size):
    """By a network that gives each cell the brightness in its first corner."""
    monkeypatch.setattr(tiling, 'TILE', 64)
    image = np.random.default_rng(0).integers(0, 2, (*size, 1), dtype=np.uint8)

    def of_cells(tile):
        height, width = tile.shape[:2]
        return tile[::stride, ::stride, 0].repeat(stride, 0).repeat(stride, 1)[:height, :width]

    np.testing.assert_array_equal(tiling.segment(of_cells, image, stride), of_cells(image))
    blended = tiling.blend(lambda tile: np.stack([1 - of_cells(tile), of_cells(tile)], -1).astype(np.float32), image, stride)
    np.testing.assert_array_equal(blended, of_cells(image))


@pytest.mark.parametrize('stride', [1, 4, 14, 32])
def test_tiles_have_one_shape_where_cells_divide_the_image(stride):
    for cells in range(1, 2000 // stride, 7):
        spans = tiling.spans(cells * stride, stride)
        assert len({span.end - span.start for span in spans}) == 1
        assert all(span.first - span.start >= tiling.MARGIN for span in spans[1:])
        assert all(span.end - span.last >= tiling.MARGIN for span in spans[:-1])


@pytest.mark.parametrize(('size', 'shapes'), SHAPES)
def test_every_pixel_is_kept_once_and_tiles_have_few_shapes(size, shapes):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = set()

    def one(tile):
        found.add(tile.shape)
        return tile[..., 0]

    np.testing.assert_array_equal(tiling.segment(one, image, 4), image[..., 0])
    assert len(found) == shapes


@pytest.mark.parametrize(('size', 'shapes'), SHAPES[1:])
def test_blended_tiles_that_agree_give_what_both_say(size, shapes):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = set()

    def one(tile):  # near ties: a third of these differ by 1 in 16 million or not at all
        found.add(tile.shape)
        return np.float32(1) + np.float32(2.0**-23) * (tile % 3)

    np.testing.assert_array_equal(tiling.blend(one, image, 4), (image % 3).argmax(-1))
    assert len(found) == shapes


def _values(one, size):
    """What `blend` makes of a function's values, instead of the best: with levels to beat, labels count how many it does."""
    levels = np.arange(1, 256, dtype=np.float32) / 256

    def scores(tile):
        value = one(tile)[..., None]
        # argmax is the number of levels below the value: the sum of what it is above them grows up to there
        return np.cumsum(np.concatenate([np.zeros_like(value), value - levels], axis=-1), axis=-1)

    return tiling.blend(scores, np.zeros((*size, 1), np.uint8), 4) / 256


@pytest.mark.parametrize('size', [(300, 260), (197, 330), (196, 200)])
def test_blended_tiles_that_differ_pass_into_one_another(monkeypatch, size):
    monkeypatch.setattr(tiling, 'TILE', 64)
    asked = itertools.cycle(np.float32([1, 0, 0.3, 0.8, 0.1, 0.9]))
    values = _values(lambda tile: np.full(tile.shape[:2], next(asked)), size)
    steepest = max(np.abs(np.diff(values, axis=axis)).max() for axis in (0, 1))
    assert values.min() < 0.4 and values.max() > 0.9
    assert steepest <= 2 / tiling.RAMP + 1 / 256  # the tile that is moved inwards can begin where the one before it still does


def test_the_edge_of_a_tile_has_no_say_where_another_tile_goes_on():
    reach = tiling.MARGIN - tiling.RAMP // 2

    def one(tile):
        scores = np.full((*tile.shape[:2], 2), (0, 1e9), np.float32)
        scores[reach:-reach, reach:-reach] = 1, 0
        return scores

    labels = tiling.blend(one, np.zeros((1500, 1201, 1), np.uint8), 4)
    assert not labels[reach:-reach, reach:-reach].any()


def test_blending_keeps_the_scores_of_a_few_rows_only():
    image, clusters = np.zeros((6000, 1300, 1), np.uint8), 8
    tiling.blend(lambda tile: np.zeros((*tile.shape[:2], clusters), np.float32), image[:700], 4)
    tracemalloc.start()
    tiling.blend(lambda tile: np.zeros((*tile.shape[:2], clusters), np.float32), image, 4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tile, rows = ((tiling.TILE + 2 * tiling.MARGIN) ** 2, tiling.RAMP * 1300)
    assert peak < 4 * clusters * (2.5 * tile + 2 * rows) + image.size
