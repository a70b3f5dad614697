"""Which images are shown, what is told of clusters, and how much of it there can be."""

import numpy as np
import pytest

from ar_seg_jax.data.classes import Class
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.reporting import page
from ar_seg_jax.reporting.sight import Sight
from ar_seg_jax.reporting.survey import survey
from tests.support import accounts, channels

CLASSES = (Class('blood', (200, 0, 0)), Class('leaf', (0, 200, 0)), Class('sky', (0, 0, 200)))
IDENTITY = (0, 1, 2)


def image(rng, contrast, size=(24, 30)):
    return np.uint8(127 + contrast * rng.uniform(-1, 1, (*size, 3)))


def surveyed(examples, mapping=IDENTITY, labelled=True):
    sight = Sight(channels.ByChannel(), channels.state())
    return survey(sight, examples, 'val', mapping, CLASSES, labelled)


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    return [image(rng, contrast) for contrast in (40, 120, 5, 90, 60, 20, 100)]


@pytest.fixture(scope='module')
def labels(images):
    """What the method says, but for the rows from the top that are wrong; the last image has no label."""
    found = [one.argmax(-1).astype(np.uint8) for one in images]
    for label, wrong in zip(found, (3, 0, 12, 9, 6, 15, 0), strict=True):
        label[:wrong] = (label[:wrong] + 1) % 3
    found[-1][:] = VOID
    return found


@pytest.fixture(scope='module')
def examples(images, labels):
    pairs = enumerate(zip(images, labels, strict=True))
    return [channels.encoded(one, label, f'image {number}') for number, (one, label) in pairs]


def test_with_labels_the_best_the_median_and_the_worst_are_shown(examples):
    found = surveyed(examples)
    assert [(one.identifier, one.group) for one in found.pictured()] == [
        ('image 1', 'best'), ('image 0', 'best'), ('image 4', 'median'), ('image 3', 'median'), ('image 2', 'worst'),
        ('image 5', 'worst'),
    ]  # fmt: skip
    assert [one.score for one in found.pictured()] == pytest.approx([1 - wrong / 24 for wrong in (0, 3, 6, 9, 12, 15)])
    assert found.ranked().startswith("the best, median and worst of 7 of 7 images of 'val', by the share")


@pytest.mark.parametrize('labelled', [False, True])
def test_without_labels_the_most_and_the_least_certain_are(images, examples, labelled):
    unknown = [channels.encoded(one, np.full(one.shape[:2], VOID, np.uint8), f'image {n}') for n, one in enumerate(images)]
    found = surveyed(unknown if labelled else examples, labelled=labelled)
    certainties = [channels.scores(one).max(-1).mean() for one in images]
    order = np.argsort(certainties)[::-1].tolist()
    shown = found.pictured()
    assert [one.identifier for one in shown] == [f'image {index}' for index in (order[0], order[1], order[5], order[6])]
    assert [one.group for one in shown] == ['most certain'] * 2 + ['least certain'] * 2
    assert [one.score for one in shown] == pytest.approx([certainties[index] for index in (*order[:2], *order[5:])], rel=1e-5)
    assert all(one.truth is None for one in shown)


def test_pictures_show_the_image_its_classes_and_its_labels(images, labels, examples):
    shown = next(one for one in surveyed(examples).pictured() if one.identifier == 'image 0')
    colours = np.array([entry.colour for entry in CLASSES], np.uint8)
    np.testing.assert_array_equal(accounts.decoded(shown.label_map), colours[images[0].argmax(-1)])
    np.testing.assert_array_equal(accounts.decoded(shown.truth), colours[labels[0]])
    assert accounts.decoded(shown.image).shape == images[0].shape
    assert shown.label_map.words.startswith('label map of image 0: ') and '%' in shown.label_map.words


def test_clusters_have_the_names_of_their_classes_and_the_means_of_their_pixels(images, examples):
    first, second, third = surveyed(examples, mapping=(2, -1, 2)).clusters()
    assert [(one.name, one.colour) for one in (first, second, third)] == [
        ('sky', (0, 0, 200)), (None, (0, 0, 0)), ('sky', (0, 0, 200)),
    ]  # fmt: skip
    pixels = np.concatenate([one.reshape(-1, 3) for one in images])
    for number, one in enumerate((first, second, third)):
        own = pixels[pixels.argmax(-1) == number]
        assert one.shape.share == pytest.approx(len(own) / len(pixels))
        assert one.mean_colour == tuple(round(level) for level in own.mean(0).tolist())


def test_images_that_are_asked_for_are_found(examples):
    assert [one.identifier for one in surveyed(examples).asked_for(['image 3', 'image 77'])] == ['image 3']


def test_of_many_images_some_are_seen_and_of_many_sizes_the_commonest():
    rng = np.random.default_rng(0)
    sizes = [(8, 8), (8, 9), (8, 10), (8, 11), (8, 12)]
    made = {size: image(rng, 90, size) for size in sizes}
    chosen = [sizes[min(index % 7, 4)] for index in range(300)]
    found = surveyed(
        [channels.encoded(made[size], made[size][..., 0], str(number)) for number, size in enumerate(chosen)], labelled=False
    )
    assert 40 <= len(found.seen) < 60 and len({one.clusters.shape for one in found.seen}) == 4
    assert (found.seen[0].index, found.seen[-1].index) == (0, 299)


def test_a_page_of_a_thousand_images_of_noise_is_below_ten_megabytes():
    rng = np.random.default_rng(0)
    noise = image(rng, 120, (600, 700))
    examples = [channels.encoded(noise, rng.integers(0, 3, noise.shape[:2]).astype(np.uint8), 'noise')] * 1000
    found = surveyed(examples)
    clusters = [one._replace(number=number) for number, one in enumerate(found.clusters() * 9)]
    content = page.of_runs([accounts.account(clusters=clusters, images=found.pictured())])
    assert 1e6 < len(content) < 1e7
