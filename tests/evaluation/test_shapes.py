"""Shapes of clusters, recomputed with scipy and by hand, and what is suspicious about them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from ar_seg_jax.evaluation import shapes
from ar_seg_jax.evaluation.shapes import Shape, Shapes

SIDE = 200


def _shapes(maps, num_clusters, there=None):
    maps = np.stack(maps)
    there = np.ones(maps.shape, bool) if there is None else np.array(there)
    return shapes.of_clusters(np.asarray(shapes.counts(jnp.asarray(maps, jnp.int32), jnp.asarray(there), num_clusters)))


def _warnings(clusters, num_clusters):
    return Shapes('val', _shapes([clusters], num_clusters)).warnings()


@pytest.mark.parametrize(('size', 'num_clusters'), [((29, 40), 4), ((24, 30), 255), ((23, 60), 3)])
def test_counts_are_those_of_eroded_masks(size, num_clusters):
    """Patches of several sizes, among them single pixels; of two of the three images only a part counts."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, num_clusters - 1, (3, *size))  # the last cluster is empty
    maps = np.stack([one.repeat(n, 0).repeat(n, 1)[: size[0], : size[1]] for one, n in zip(drawn, (1, 7, 12), strict=True)])
    there = np.ones(maps.shape, bool)
    there[1, 9:], there[1, :, 11:], there[2, 14:17] = False, False, False
    found = _shapes(maps, num_clusters, there)
    border = np.ones(size, bool)
    border[8:-8, 8:-8] = False
    assert len(found) == num_clusters and found[-1] == Shape(0.0, None, None)
    for number, shape in enumerate(found[:-1]):
        own = (maps == number) & there
        kept = sum(
            (ndimage.binary_erosion(one | ~seen, np.ones((5, 5)), border_value=1) & one).sum()
            for one, seen in zip(own, there, strict=True)
        )
        assert shape.share == pytest.approx(own.sum() / there.sum())
        if own.any():
            assert shape.thinness == pytest.approx(1 - kept / own.sum())
        if own.any() and min(size) >= 24:
            assert shape.border_share == pytest.approx(own[:, border].sum() / there[:, border].sum() * there.sum() / own.sum())
        else:
            assert shape.border_share is None


@pytest.mark.parametrize('width', [4, 5, 8, 20])
def test_stripes_and_squares_are_as_thin_as_is_said(width):
    stripe, square = np.zeros((2, 40, 40), int)
    stripe[:, 10 : 10 + width] = square[10 : 10 + width, 10 : 10 + width] = 1
    assert _shapes([stripe], 2)[1].thinness == pytest.approx(4 / width)
    assert _shapes([square], 2)[1].thinness == pytest.approx(1 - (1 - 4 / width) ** 2)
    assert _shapes([np.zeros((40, 40), int)], 2) == [Shape(1.0, 0.0, 1.0), Shape(0.0, None, None)]


def _halves():
    return np.arange(SIDE)[:, None] // 100 * np.ones((SIDE, SIDE), int)


def _edges(width):
    """Two clusters in a chessboard, and a third one along their edges."""
    clusters = np.add.outer(np.arange(SIDE) // 50, np.arange(SIDE) // 50) % 2
    near = (np.arange(SIDE) + width // 2) % 50 < width
    clusters[near] = clusters[:, near] = 2
    return clusters


@pytest.mark.parametrize('width', [2, 4])
def test_a_cluster_of_edges_is_suspicious(width):
    (warning,) = _warnings(_edges(width), 3)
    assert warning.startswith('Cluster 2 looks like one of edges: ') and 'Cluster 0' not in warning
    assert 'pixels of another cluster, and' in warning and '--config.method.entropy_weight' in warning


def test_a_cluster_of_edges_that_are_wider_is_suspicious_if_it_lies_at_the_image_border():
    """Stripes of 7 pixels, 57 % of which are within 2 pixels of their neighbours: across the image, and along its border."""
    across, along = _halves(), _halves()
    across[:, 90:97] = 2
    assert not _warnings(across, 3)
    for row in (1, 60, 130):
        along[row : row + 7, 20:180] = 2
    (warning,) = _warnings(along, 3)
    assert warning.startswith('Cluster 2 looks like one of edges and the image border: 5')


def test_a_cluster_of_the_image_border_is_suspicious():
    frame = np.full((SIDE, SIDE), 2)
    frame[8:-8, 8:-8] = _halves()[8:-8, 8:-8]
    (warning,) = _warnings(frame, 3)
    assert warning.startswith('Cluster 2 looks like one of the image border: 6.5 times as many of its pixels as of all lie')


def test_regions_and_compact_objects_are_not_suspicious():
    objects = _halves()
    tops = np.arange(15, 185, 25)
    for row in tops:
        for column in tops:
            objects[row : row + 8, column : column + 8] = 2
    assert _shapes([objects], 3)[2].share > 0.07
    strip = _halves()
    strip[:20] = 2  # a sky, or the bonnet of a car
    for clusters in (_halves(), objects, strip, np.zeros((SIDE, SIDE), int)):
        assert not _warnings(clusters, 3)


def test_where_all_clusters_are_thin_none_is_one_of_edges():
    noise = np.random.default_rng(0).integers(0, 3, (SIDE, SIDE))
    assert all(shape.thinness > 0.9 for shape in _shapes([noise], 3)) and not _warnings(noise, 3)


def test_rare_clusters_are_not_suspicious():
    poles = _halves()
    poles[40:80, 50:150:10] = 2
    assert _shapes([poles], 3)[2] == Shape(400 / SIDE**2, 1.0, 0.0) and not _warnings(poles, 3)
