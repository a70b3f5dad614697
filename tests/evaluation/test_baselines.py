"""k-means on colours, SIFT descriptors and features, and the descriptors themselves."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import baselines, scoring
from ar_seg_jax.evaluation.protocols import Protocol
from ar_seg_jax.evaluation.sift import sift_descriptors
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.objectives import clustering

RNG = np.random.default_rng(0)
COLOURS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]])


def _coloured(truth):
    return (COLOURS[truth] + RNG.integers(-5, 6, (*truth.shape, 3))).astype(np.uint8)


def _noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def _grey(values):
    """An image whose three channels are `values`, so that its grey image is as well."""
    return jnp.asarray(np.repeat(values[..., None], 3, axis=-1).astype(np.uint8))


def test_centroids_of_separate_colours_are_those_colours():
    batches = [{'image': _coloured(RNG.integers(0, 3, (2, 20, 20)))} for _ in range(3)]
    found = np.asarray(baselines.pixel_centroids(batches, 3, seed=0))
    np.testing.assert_allclose(found[np.argsort(-found @ [4, 2, 1])], COLOURS / 255, atol=0.01)


def test_centroids_are_equal_for_equal_seeds_and_differ_for_others():
    batches = [{'image': _noise(2, 30, 30, 4)} for _ in range(2)]
    features = RNG.standard_normal((5000, 16)).astype(np.float32)
    for find in (
        lambda seed: baselines.pixel_centroids(batches, 5, seed, pixels=500),
        lambda seed: baselines.sift_centroids(batches, 5, seed),
        lambda seed: clustering.find_centroids(features, 5, seed),
    ):
        np.testing.assert_array_equal(find(3), find(3))
        assert not np.array_equal(find(3), find(4))


@pytest.mark.parametrize('find', [baselines.pixel_centroids, baselines.sift_centroids])
def test_pixels_that_do_not_count_are_not_drawn(find):
    """Their colours matter to no centroid, as far as the descriptors of other pixels do not see them."""
    image, counts = _noise(2, 60, 40, 3), np.ones((2, 60, 40), bool)
    counts[:, 30:] = False
    changed = image.copy()
    changed[:, 45:] = 0
    found = [np.asarray(find([{'image': one, 'mask': counts}], 3, 0)) for one in (image, changed)]
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(found[0], find([{'image': changed}], 3, 0))


def test_features_are_clustered_around_their_centres():
    centres = 10 * np.eye(4, 7, dtype=np.float32)
    features = np.repeat(centres, 400, axis=0) + 0.1 * RNG.standard_normal((1600, 7)).astype(np.float32)
    found = clustering.find_centroids(features, 4, seed=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[np.argsort(found.argmax(1))], centres, atol=0.05)


def test_fewer_vectors_than_clusters_are_refused():
    with pytest.raises(UserError, match=r'^k-means: 2 vectors are fewer than 3 clusters$'):
        clustering.find_centroids(np.zeros((2, 5), np.float32), 3, seed=0)


def test_the_nearest_centroid_is_that_of_a_loop():
    image, centroids = _noise(2, 5, 6, 4), RNG.random((7, 4)).astype(np.float32)
    expected = [min(range(7), key=lambda k: ((pixel / 255 - centroids[k]) ** 2).sum()) for pixel in image.reshape(-1, 4)]
    found = baselines.nearest_centroid(centroids, jnp.asarray(image))
    np.testing.assert_array_equal(found, np.reshape(expected, (2, 5, 6)))


def _descriptor(grey, row, column):
    """The descriptor of the box at (row, column), gradient by gradient."""
    cells = np.zeros((4, 4, 8))
    last_row, last_column = grey.shape[0] - 1, grey.shape[1] - 1
    down, right = np.gradient(grey.astype(float))
    for y in range(10 * row - 2, 10 * row + 12):
        for x in range(10 * column - 2, 10 * column + 12):
            inside = min(max(y, 0), last_row), min(max(x, 0), last_column)
            angle = math.degrees(math.atan2(down[inside], right[inside])) % 360
            from_middle = (y - 10 * row - 4.5) ** 2 + (x - 10 * column - 4.5) ** 2
            for cell in np.ndindex(4, 4):
                tall = max(0, 1 - abs(y - 10 * row - 3 * cell[0]) / 3)
                wide = max(0, 1 - abs(x - 10 * column - 3 * cell[1]) / 3)
                share = tall * wide * math.exp(-from_middle / (2 * 6**2)) * math.hypot(down[inside], right[inside])
                low = int(angle // 45)
                cells[cell][low % 8] += share * (1 - (angle / 45 - low))
                cells[cell][(low + 1) % 8] += share * (angle / 45 - low)
    clipped = np.minimum(cells / np.linalg.norm(cells), 0.2)
    return (clipped / np.linalg.norm(clipped)).reshape(-1)


@pytest.mark.parametrize('size', [(30, 40), (36, 25), (19, 10)])
def test_descriptors_are_those_of_a_loop_over_the_gradients_around_each_box(size):
    values = _noise(*size)
    found = sift_descriptors(_grey(values[None]))
    assert found.shape == (1, size[0] // 10, size[1] // 10, 128)
    for row, column in np.ndindex(found.shape[1:3]):
        np.testing.assert_allclose(found[0, row, column], _descriptor(values, row, column), atol=1e-5)


def test_a_descriptor_knows_the_direction_of_a_ramp():
    ramp = np.broadcast_to(5 * np.arange(30), (1, 30, 30))
    for values, orientation in ((ramp, 0), (ramp.swapaxes(1, 2), 2), (ramp[..., ::-1], 4), (ramp[..., ::-1].swapaxes(1, 2), 6)):
        entries = np.asarray(sift_descriptors(_grey(values))).reshape(9, 16, 8)
        assert (entries[..., orientation] > 0.1).all()
        assert np.abs(np.delete(entries, orientation, axis=-1)).max() < 1e-5


def test_colours_count_by_their_rounded_grey():
    image = _noise(1, 20, 20, 4)
    grey = np.rint(image[..., :3] @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_allclose(sift_descriptors(jnp.asarray(image)), sift_descriptors(_grey(grey)), atol=1e-6)


def test_brightness_and_contrast_leave_descriptors_as_they_are():
    values = RNG.integers(0, 60, (2, 30, 30))
    expected = sift_descriptors(_grey(values))
    for changed in (values + 100, 4 * values):
        np.testing.assert_allclose(sift_descriptors(_grey(changed)), expected, atol=1e-5)


def test_a_quarter_turn_moves_boxes_cells_and_orientations():
    image = _noise(1, 30, 40, 3)
    turned = sift_descriptors(jnp.asarray(np.rot90(image, axes=(1, 2))))
    cells = np.asarray(sift_descriptors(jnp.asarray(image))).reshape(1, 3, 4, 4, 4, 8)
    expected = np.roll(np.rot90(np.rot90(cells, axes=(1, 2)), axes=(3, 4)), -2, axis=-1)
    np.testing.assert_allclose(turned, expected.reshape(1, 4, 3, 128), atol=1e-5)


def test_boxes_of_one_colour_have_descriptors_of_zeros():
    image = np.broadcast_to(np.array([201, 13, 77], np.uint8), (2, 23, 31, 3))
    np.testing.assert_array_equal(sift_descriptors(jnp.asarray(image)), np.zeros((2, 2, 3, 128)))


def test_an_image_smaller_than_a_box_has_none():
    assert sift_descriptors(jnp.asarray(_noise(2, 9, 30, 3))).shape == (2, 0, 3, 128)


def test_labels_are_counted_at_the_centres_of_boxes_on_any_number_of_devices():
    image, label = _noise(8, 38, 20, 3), RNG.choice([0, 1, 2, VOID], (8, 38, 20)).astype(np.uint8)
    centroids = np.asarray(baselines.sift_centroids([{'image': image}], 4, seed=0))
    descriptors = np.asarray(sift_descriptors(jnp.asarray(image)))
    expected = np.zeros((4, 3), int)
    for index, row, column in np.ndindex(8, 3, 2):
        true = label[index, 10 * row + 5, 10 * column + 5]
        if true != VOID:
            expected[((descriptors[index, row, column] - centroids) ** 2).sum(-1).argmin(), true] += 1
    count = baselines.make_sift_counter(4, 3)
    placed = sharding.place({'image': image, 'label': label}, sharding.split_batch(sharding.make_mesh()))
    assert len(placed['image'].sharding.device_set) == jax.device_count() == 8
    for batch in ({'image': jnp.asarray(image), 'label': jnp.asarray(label)}, placed):
        np.testing.assert_array_equal(count(centroids, batch), expected)


def test_textures_of_one_brightness_are_told_apart_by_sift_and_not_by_colour():
    stripes = np.where(np.arange(40) // 3 % 2, 200, 50)
    truth = RNG.integers(0, 2, 16).astype(np.uint8)
    values = np.stack([np.broadcast_to(stripes if flip else stripes[:, None], (40, 40)) for flip in truth])
    batch = {'image': np.asarray(_grey(values)), 'label': np.broadcast_to(truth[:, None, None], (16, 40, 40))}
    on_device = jax.tree.map(jnp.asarray, batch)
    protocol = [Protocol('one-to-one', 'val', 'val')]
    accuracy = []
    for count, find in (
        (scoring.make_counter(baselines.nearest_centroid, 2, 2), baselines.pixel_centroids),
        (baselines.make_sift_counter(2, 2), baselines.sift_centroids),
    ):
        (result,) = scoring.evaluate(count, find([batch], 2, seed=0), protocol, lambda split: [on_device])
        accuracy.append(result.scores.accuracy)
    assert accuracy[0] < 0.7 and accuracy[1] == 1.0
