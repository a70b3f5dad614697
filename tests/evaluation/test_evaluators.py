"""What evaluators say of a state, recomputed from what its method predicts for the images of the splits."""

import copy
import dataclasses

import jax
import numpy as np
import pytest
from scipy import ndimage, stats

from ar_seg_jax import build, sharding
from ar_seg_jax.data import pipeline
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.evaluator import Findings, Subject
from ar_seg_jax.evaluation.probing import Probing
from ar_seg_jax.evaluation.segmentation import Segmentation
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.runs import assembly, workdir
from tests.support import clusterless, tiny


@pytest.fixture(scope='module')
def subject(trained):
    """The data of a run, and a network of six clusters that has learned nothing."""
    config = workdir.load_config(trained.directory)
    config['pipeline']['batch_size'] = config['evaluation']['batch_size'] = 8  # there are 8 devices here
    config['method'] = {**config['method'], 'num_clusters': 6}
    mesh = sharding.make_mesh()
    method = build.method(config)
    data = assembly.prepared(assembly.dataset(config, mesh), may_write=False)
    task = assembly.task(config, method, data, mesh)
    return Subject(method, data, 'val', 0, lambda: task.initial_state().model)


@pytest.fixture(scope='module')
def state(subject):
    """The network with a bias that gives pixels to all clusters."""
    state = subject.untrained()
    image = next(_decoded(subject))['image'][None]
    logits = jax.jit(lambda image: subject.method.predict(state.params, state.extra, image)['logits'])(image)
    decoder = state.params['decoder'] | {'bias': state.params['decoder']['bias'] - logits.mean((0, 1, 2))}
    return state.replace(params=state.params | {'decoder': decoder})


@pytest.fixture(scope='module')
def counted(subject, state):
    """Pixels of each cluster and class in each split, counted in a loop over images; and the clusters of the first image."""
    predict = jax.jit(lambda image: subject.method.predict(state.params, state.extra, image)['scores'].argmax(-1)[0])
    confusions, first = {}, {}
    for split in ('train', 'val'):
        confusions[split] = np.zeros((6, 3), int)
        for example in map(pipeline.decode, subject.data.examples(split)):
            clusters = np.asarray(predict(example['image'][None]))
            first.setdefault(split, (example['image'], clusters))
            np.add.at(confusions[split], (clusters, example['label']), 1)
    assert (confusions['val'].sum(1) > 100).sum() >= 4
    return confusions, first['val']


def test_every_protocol_is_scored_and_the_first_names_the_clusters(subject, state, counted):
    confusions, (image, clusters) = counted
    segmentation = Segmentation(subject, protocols=('many-to-one:train', 'one-to-one'), baselines=False)
    found = segmentation.report(state, subject.data.evaluation)
    mapping = np.where(confusions['train'].sum(1) > 0, confusions['train'].argmax(1), -1)
    hits = sum(confusions['val'][cluster, mapping[cluster]] for cluster in np.flatnonzero(mapping >= 0))
    accuracy = hits / (4 * 48 * 48)
    held_out, own = found.content['results']
    for entry in (held_out, own):
        assert entry['name'] == 'AC, step 0' and len(entry['class_accuracy']) == len(entry['class_iou']) == 3
        np.testing.assert_array_equal(entry['confusion'], confusions['val'])
    assert (held_out['protocol'], own['protocol']) == ('many-to-one:train:val', 'one-to-one:val:val')
    assert held_out['scores']['accuracy'] == pytest.approx(accuracy)
    pixels = confusions['val'].sum(1)
    assert own['scores']['cluster_entropy'] == pytest.approx(stats.entropy(pixels))
    assert own['scores']['empty_clusters'] == np.mean(pixels == 0)
    assert (
        sum(f'  clusters: entropy {stats.entropy(pixels):.4f} of at most {np.log(6):.4f} nats' in line for line in found.lines)
        == 2
    )
    assert own['scores']['accuracy'] != pytest.approx(accuracy)
    assert found.content['clusters']['mapping'] == mapping.tolist()
    assert [entry['name'] for entry in found.content['clusters']['classes']] == ['brick', 'grass', 'gravel']
    assert found.content['clusters']['protocol'].startswith("many-to-one matching fitted on 'train', scored on 'val';")
    (column,) = found.columns
    np.testing.assert_array_equal(column.label_map(image), np.where(mapping < 0, VOID, mapping)[clusters])
    assert column.classes == subject.data.classes and list(found.pictures) == ['confusion']


def test_during_training_the_first_protocol_is_followed(subject, state):
    asked = []

    def batches(split):
        asked.append(split)
        return subject.data.evaluation(split)

    segmentation = Segmentation(subject, protocols=('one-to-one', 'many-to-one:train'), baselines=True)
    found = segmentation.follow(state, batches)
    expected = segmentation.report(state, subject.data.evaluation).content['results'][0]['scores']
    assert found.scalars == {f'one-to-one:val:val/{name}': value for name, value in expected.items()}
    assert asked == ['val'] and not found.content and len(found.lines) == 1
    accuracy, iou, entropy = (expected[name] for name in ('accuracy', 'mean_iou', 'cluster_entropy'))
    assert found.lines[0].startswith(f'accuracy {accuracy:.4f}  mIoU {iou:.4f}  clusters: entropy {entropy:.4f} of at most ')
    assert '  (one-to-one matching fitted on' in found.lines[0]


def test_groups_of_classes_are_scored_where_the_data_has_some(subject, state, counted):
    confusions, _ = counted
    own = [entry._replace(group=group) for entry, group in zip(subject.data.classes, ('things', 'stuff', 'stuff'), strict=True)]
    subject = _with_classes(subject, own)
    segmentation = Segmentation(subject, protocols=('one-to-one',), baselines=False)
    followed, found = segmentation.follow(state, subject.data.evaluation), segmentation.report(state, subject.data.evaluation)
    (entry,) = found.content['results']
    hits = np.array(entry['class_accuracy']) * confusions['val'].sum(0)
    for group, members in (('things', [0]), ('stuff', [1, 2])):
        accuracy, iou = (entry['scores'][f'{group}_{name}'] for name in ('accuracy', 'mean_iou'))
        assert accuracy == pytest.approx(hits[members].sum() / confusions['val'].sum(0)[members].sum())
        assert iou == pytest.approx(np.mean([entry['class_iou'][index] for index in members]))
        assert all(f'{group} {accuracy:.3f}, {iou:.3f}' in ' '.join(lines) for lines in (followed.lines, found.lines))
    assert [entry['group'] for entry in found.content['clusters']['classes']] == ['things', 'stuff', 'stuff']


def test_without_protocols_nothing_is_scored_and_clusters_have_numbers(subject, state, counted):
    _, (image, clusters) = counted
    segmentation = Segmentation(subject, protocols=(), baselines=True)
    followed, found = (each(state, subject.data.evaluation) for each in (segmentation.follow, segmentation.report))
    assert not followed.content and not followed.lines and found.content.keys() == {'shapes'}
    for each in (followed, found):
        (column,) = each.columns
        assert not each.scalars and not each.pictures
        assert [entry.name for entry in column.classes] == [f'cluster {index}' for index in range(6)]
        np.testing.assert_array_equal(column.label_map(image), clusters)


def test_shapes_are_those_of_the_images_with_labels_and_without(subject, state):
    """Four images, and as many with which their batch was filled: each eroded by scipy, cluster by cluster."""
    maps = Segmentation(subject, protocols=(), baselines=False).report(state, subject.data.evaluation).columns[0].label_map
    clusters = np.stack([maps(example['image']) for example in _decoded(subject)])
    border = np.pad(np.zeros((32, 32), bool), 8, constant_values=True)
    expected = []
    for number in range(6):
        own = clusters == number
        kept = [ndimage.binary_erosion(one, np.ones((5, 5)), border_value=1) for one in own]
        at_border = own[:, border].mean() / own.mean() if own.any() else None
        expected.append((own.mean(), 1 - np.sum(kept) / own.sum() if own.any() else None, at_border))
    assert sum(share > 0.01 for share, _, _ in expected) >= 4
    for protocols, labels in ((('one-to-one', 'many-to-one:train'), True), ((), True), (('one-to-one',), False)):
        own = subject if labels else _with_classes(subject, ())
        found = Segmentation(own, protocols=protocols, baselines=False).report(state, subject.data.evaluation)
        assert found.content['shapes']['split'] == 'val'
        shapes = [
            tuple(entry[name] for name in ('share', 'thinness', 'border_share')) for entry in found.content['shapes']['clusters']
        ]
        assert shapes == [pytest.approx(each) for each in expected]
        words = '; '.join(f'{k} {a:.3f}, {b:.2f}, {c:.2f}' for k, (a, b, c) in enumerate(shapes) if a)
        assert found.lines[-1] == f"Shapes of clusters on 'val' (share, thinness, border share): {words}"
        assert ('The data has no labels' in found.lines[0]) == (not labels)


def test_a_cluster_of_edges_is_warned_of_in_training_and_after_it(subject, state, monkeypatch):
    """The likeliest cluster is 1 at lines that are four pixels wide, and 0 elsewhere."""
    lines = np.arange(48) % 24 // 4 == 2
    scores = np.stack([~lines, lines, *[np.zeros(48)] * 4], axis=-1).astype(np.float32)
    monkeypatch.setattr(
        type(subject.method), 'predict', lambda *_: {'scores': np.broadcast_to(scores, (8, 48, 48, 6)), 'logits': None}
    )
    for protocols in (('one-to-one',), ()):
        segmentation = Segmentation(subject, protocols=protocols, baselines=False)
        for each in (segmentation.follow, segmentation.report):
            (warning,) = each(state, subject.data.evaluation).warnings
            assert warning.startswith('Cluster 1 looks like one of edges: 100% of its pixels are within 2 pixels of another')


def test_images_of_several_sizes_have_label_maps_but_no_shapes_where_they_have_no_labels(subject, state):
    def batches(split):
        raise DataError('example 3 is larger')
        yield

    segmentation = Segmentation(_with_classes(subject, ()), protocols=('one-to-one',), baselines=False)
    found = segmentation.report(state, batches)
    assert found.columns and not found.content and not segmentation.follow(state, batches).warnings
    assert found.lines[-1] == 'The shapes of clusters are not known: example 3 is larger'


def test_several_processes_read_nothing_where_there_are_no_labels(subject, state, monkeypatch):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    segmentation = Segmentation(_with_classes(subject, ()), protocols=('one-to-one',), baselines=False)
    found = segmentation.report(state, pytest.fail)
    assert found.columns and not found.content and 'nothing was scored' in found.lines[-1]


def test_classes_that_no_cluster_can_be_are_told_before_training(subject, caplog):
    many = [Class(f'class {number}', (number, 0, 0)) for number in range(9)]
    with caplog.at_level('WARNING'):
        Segmentation(_with_classes(subject, many), protocols=('many-to-one:train',), baselines=False)
        assert not caplog.text
        Segmentation(_with_classes(subject, many), protocols=('one-to-one',), baselines=False)
    assert '6 clusters for 9 classes: matched one-to-one, at least 3 classes have a score of 0; set ' in caplog.text


def test_a_method_without_clusters_has_nothing_to_segment(subject):
    method = dataclasses.replace(tiny.arl(), num_clusters=0)
    with pytest.raises(UserError, match=r'^ARL predicts no clusters; take segmentation out of config\.evaluators$'):
        Segmentation(dataclasses.replace(subject, method=method), protocols=('one-to-one',), baselines=False)


def test_probes_are_trained_once_and_say_on_what(subject, state):
    probing = Probing(subject, names=['linear', 'linear:features'], pixels=500, steps=2, split='train+val')
    assert probing.follow(state, subject.data.evaluation) == Findings()
    found = probing.report(state, subject.data.evaluation)
    (entry,) = found.content['results']
    assert entry['name'] == 'linear:features'
    words = "with the labels of 512 pixels of 'train+val', scored on 'val' (images it was trained on"
    assert entry['in_words'].startswith(f'linear probe of features trained to the end on the frozen network {words}')
    confusion = np.array(entry['confusion'])
    assert confusion.sum() == 4 * 48 * 48 and entry['scores']['accuracy'] == np.trace(confusion) / confusion.sum()
    (column,) = found.columns
    predicted = np.concatenate([column.label_map(example['image']).ravel() for example in _decoded(subject)])
    labels = np.concatenate([example['label'].ravel() for example in _decoded(subject)])
    np.testing.assert_array_equal(confusion, [[((predicted == k) & (labels == c)).sum() for c in range(3)] for k in range(3)])
    assert Probing(subject, names=[], pixels=500, steps=2, split='').report(state, subject.data.evaluation) == Findings()


def test_probes_of_what_a_method_does_not_predict_are_refused_when_they_are_made(subject):
    method = clusterless.Clusterless(**vars(subject.method))
    other = dataclasses.replace(subject, method=method)
    assert Probing(other, names=['linear', 'non-linear:features'], pixels=500, steps=2, split='')
    message = r"^config\.evaluators\.probes\.names: Clusterless predicts no logits for 'linear:logits'; the taps .* are features$"
    with pytest.raises(UserError, match=message):
        Probing(other, names=['linear', 'linear:logits'], pixels=500, steps=2, split='')


def _decoded(subject):
    return map(pipeline.decode, subject.data.examples('val'))


def _with_classes(subject, classes):
    """The subject, whose data names these classes; none says that it has no labels."""
    builder = copy.copy(subject.data.builder)
    builder._builder_config = dataclasses.replace(builder.builder_config, classes=tuple(classes))
    return dataclasses.replace(subject, data=dataclasses.replace(subject.data, builder=builder))
