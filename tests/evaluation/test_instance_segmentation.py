"""What the evaluator of objects says, recomputed from the squares that the images show."""

import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ar_seg_jax import sharding
from ar_seg_jax.data.builder import SegmentationConfig
from ar_seg_jax.data.classes import numbered
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import instances
from ar_seg_jax.evaluation.evaluator import Subject
from ar_seg_jax.evaluation.instance_segmentation import InstanceSegmentation
from ar_seg_jax.evaluation.probing import Probing
from ar_seg_jax.evaluation.segmentation import Segmentation
from ar_seg_jax.interfaces import VOID, ModelState
from configs import common
from tests.support import squares

OPTIONS = common.instances()['instances']


@pytest.fixture(scope='module')
def subject(tmp_path_factory):
    data = squares.dataset(tmp_path_factory.mktemp('data'))
    return Subject(squares.ByColour(), data, 'val', 0, lambda: None)


def _state(subject, step=7):
    params, extra = subject.method.init(None, None)
    return jax.device_put(ModelState(np.int32(step), params, extra), sharding.replicated(subject.data.mesh))


def _expected(segments_of):
    """Means over the images, one by one."""
    images = [(squares.painted(one)[1], squares.labels(index)) for index, one in enumerate(squares.SQUARES)]
    tables = []
    for segments, label in images:
        table = np.zeros((4, 255), int)
        known = label < 255
        np.add.at(table, (segments_of(segments)[known], label[known]), 1)
        tables.append(table)
    return instances.means([instances.scores(table) for table in tables])


def test_colours_that_tell_objects_apart_score_fully_and_images_without_objects_are_named(subject):
    evaluator = InstanceSegmentation(subject, **OPTIONS)
    found = evaluator.report(_state(subject), subject.data.evaluation)
    own, *others = found.content['results']
    assert own['name'] == 'By colour, step 7' and own['protocol'] == 'instances:val'
    assert own['scores'] == pytest.approx(dict.fromkeys(instances.WORDS, 1) | {'mse': 0, 'mse_per_value': 0}, abs=1e-5)
    assert found.content['images'] == {
        'split': 'val', 'count': 5, 'without_objects': ['image_2'], 'without_labels': ['image_4'],
    }  # fmt: skip
    assert own['in_words'].startswith("segments: the likeliest of 4 scores; mean over 5 images of 'val', each scored by itself")
    assert own['in_words'].endswith('over the 4 images with objects')
    assert '  images without objects (1): image_2' in found.lines and '  images without labels (1): image_4' in found.lines
    by_name = {entry['name']: entry for entry in others}
    assert list(by_name) == ['one segment', 'blocks', 'k-means on pixels', 'difference from median']
    shares = [np.bincount(squares.labels(index).ravel()) / squares.SIDE**2 for index in (0, 1, 2, 3, 5)]
    one = by_name['one segment']
    assert one['in_words'].startswith('segments: one segment; mean over')
    assert one['scores']['mean_iou'] == pytest.approx(np.mean([share.max() / len(share) for share in shares]))
    assert one['scores']['ari_fg'] == pytest.approx(1 / 4)  # of the four images with objects one has one
    assert one['scores']['msc_fg'] == pytest.approx(
        np.mean([share[1:].sum() / len(share[1:]) for share in shares if len(share) > 1])
    )
    assert all(any(line.startswith(f'{name:30}') for line in found.lines) for name in (own['name'], *by_name))
    (column,) = found.columns
    image, label = squares.painted(squares.SQUARES[1])
    np.testing.assert_array_equal(column.label_map(image), label)
    assert [entry.name for entry in column.classes] == ['background', 'object 1', 'object 2', 'object 3']


def test_objects_that_share_a_slot_score_as_one_image_after_another_would(subject):
    other = dataclasses.replace(subject, method=squares.ByColour(merged=(2,)))
    evaluator = InstanceSegmentation(other, **OPTIONS)
    asked = []

    def batches(split):
        asked.append(split)
        return subject.data.evaluation(split)

    found = evaluator.follow(_state(other), batches)
    expected = _expected(lambda label: np.where(label == 2, 1, label))
    assert {name: found.scalars[f'instances/{name}'] for name in expected} == pytest.approx(expected)
    assert 0 < expected['ari_fg'] < 1 and asked == ['val'] and not found.content
    wrong = [((squares.painted(one)[1] == 2).sum(), one) for one in squares.SQUARES]
    error = np.sum((np.array(squares.COLOURS[0]) / 255 - np.array(squares.COLOURS[1]) / 255) ** 2)
    assert found.scalars['instances/mse'] == pytest.approx(np.mean([count * error for count, _ in wrong]), rel=1e-5)
    assert found.scalars['instances/mse_per_value'] == pytest.approx(found.scalars['instances/mse'] / (3 * squares.SIDE**2))
    (line,) = found.lines
    words = [f'{instances.WORDS[name]} {expected[name]:.4f}' for name in ('mean_iou', 'ari_fg', 'msc_fg')]
    assert line.startswith('  '.join([*words, 'MSE ']))


def test_pictures_have_the_size_of_their_image_whatever_that_of_the_method(subject):
    (column,) = InstanceSegmentation(subject, **OPTIONS).follow(_state(subject), subject.data.evaluation).columns
    image, label = (part.repeat(2, 0).repeat(3, 1) for part in squares.painted(squares.SQUARES[0]))
    np.testing.assert_array_equal(column.label_map(image), label)
    assert list(column.views) == ['background', 'reconstruction']
    np.testing.assert_array_equal(column.views['background'](image), np.broadcast_to(squares.FLOOR, image.shape))
    assert np.mean(np.abs(column.views['reconstruction'](image).astype(int) - image)) < 8  # edges are interpolated


def test_the_same_is_found_in_batches_of_any_size(subject):
    one = InstanceSegmentation(subject, baselines=False, threshold=30.0).report(_state(subject), subject.data.evaluation)
    data = dataclasses.replace(subject.data, evaluation_options={'crop_size': 0, 'batch_size': 16})
    other = dataclasses.replace(subject, data=data)
    assert (
        InstanceSegmentation(other, baselines=False, threshold=30.0).report(_state(other), data.evaluation).content == one.content
    )


def test_a_method_that_makes_no_images_has_numbered_segments_and_no_errors(subject):
    class Segmenting(squares.ByColour):
        def predict(self, params, extra, image):
            return {'scores': super().predict(params, extra, image)['scores']}

    other = dataclasses.replace(subject, method=Segmenting())
    found = InstanceSegmentation(other, baselines=False, threshold=30.0).report(_state(other), subject.data.evaluation)
    (own,), (column,) = found.content['results'], found.columns
    assert set(own['scores']) == set(instances.WORDS) and own['scores']['mean_iou'] == 1
    assert [entry.name for entry in column.classes] == [f'segment {index}' for index in range(4)] and not column.views


def test_without_labels_reconstructions_are_scored_and_nothing_else(subject):
    def unlabelled(split):
        return ({**batch, 'label': jnp.full_like(batch['label'], VOID)} for batch in subject.data.evaluation(split))

    evaluator = InstanceSegmentation(subject, baselines=False, threshold=30.0)
    (own,) = evaluator.report(_state(subject), unlabelled).content['results']
    assert set(own['scores']) == {'mse', 'mse_per_value'}
    assert set(evaluator.follow(_state(subject), unlabelled).scalars) == {'instances/mse', 'instances/mse_per_value'}


def test_data_of_objects_and_of_classes_each_have_their_evaluators(subject):
    message = r'^config\.evaluators\.{} scores classes, but labels of config\.data are numbers of objects; score them with'
    with pytest.raises(UserError, match=message.format('segmentation')):
        Segmentation(subject, protocols=('one-to-one',), baselines=False)
    with pytest.raises(UserError, match=message.format('probes')):
        Probing(subject, names=('linear',), split='', pixels=10, steps=1)
    builder = copy.copy(subject.data.builder)
    builder._builder_config = SegmentationConfig(name='a', classes=numbered('road', 2))
    other = dataclasses.replace(subject, data=dataclasses.replace(subject.data, builder=builder))
    with pytest.raises(UserError, match=r'^config\.evaluators\.instances scores objects, but labels of config\.data are of'):
        InstanceSegmentation(other, **OPTIONS)
    without = type('Without', (squares.ByColour,), {'num_clusters': 0, 'title': 'Without'})()
    with pytest.raises(UserError, match=r'^Without predicts no clusters; take instances out of config\.evaluators$'):
        InstanceSegmentation(dataclasses.replace(subject, method=without), **OPTIONS)
