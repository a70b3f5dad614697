"""What is found out about the state of a run: scores beside baselines, probes, tables."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np

from ar_seg_jax import illustrations, workdir
from ar_seg_jax.evaluation import baselines, segmentation
from ar_seg_jax.evaluation.segmentation import Result
from ar_seg_jax.illustrations import Probed
from ar_seg_jax.interfaces import Batch
from ar_seg_jax.run import Run, untrained
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)

_BASELINE_BATCHES = 20  # training batches from which k-means draws pixels and boxes


def evaluate(run: Run, batches: Callable[[str], Iterable[Batch]], state: TrainState) -> Evaluation:
    """Scores under the first protocol, where there is one, and the pictures."""
    if not run.data.protocols:
        return Evaluation({}, illustrations.sample(run, state, None))
    (result,) = segmentation.evaluate(run.count, state, run.data.protocols[:1], batches)
    accuracy, mean_iou = _headline(result)
    _logger.info('step %d  accuracy %.4f  mIoU %.4f  (%s)', state.step, accuracy, mean_iou, result.protocol)
    name = result.protocol.short
    return Evaluation({f'{name}/accuracy': accuracy, f'{name}/mean_iou': mean_iou}, illustrations.sample(run, state, result))


def report(run: Run, state: TrainState):
    """Scores a state under every protocol, beside the baselines if the config asks for them; prints, and writes files."""
    step = int(state.step)
    rows: dict[str, list[Result]] = {}
    if run.data.protocols:
        rows[f'{run.title}, step {step}'] = segmentation.evaluate(run.count, state, run.data.protocols, run.data.evaluation)
        if run.config['evaluation']['baselines'] and step > 0:  # before that the network itself is a baseline
            rows |= _baselines(run)
    probed = _probe(run, state) if rows else []
    if jax.process_index() == 0:
        _print_table(run, rows, probed)
        _save(run, step, rows, probed)
    for path in illustrations.write(run, state, next(iter(rows.values()))[0] if rows else None, probed):
        print(f'Picture: {path}')


def _probe(run: Run, state: TrainState) -> list[Probed]:
    """Probes of the frozen network, scored on the split of the first protocol."""
    probes, classes, split = run.probes, len(run.data.classes), run.data.protocols[0].scored_on
    if not probes.names:
        return []
    batches = run.data.labelled(probes.steps)
    trained = probes.train(run.predict, state, batches, classes, run.config['seed'])
    if trained is None:
        _logger.info(
            'No probes: nothing in %r has a label; --config.evaluation.probe_split names another split', run.data.probe_split
        )
        return []
    found, variables = [], (state, trained)
    for name in probes.full_names:
        segment = probes.segment(run.predict, name, classes)
        counts = segmentation.make_counter(segment, classes, classes)
        confusion = segmentation.confusion(counts, variables, split, run.data.evaluation(split))
        found.append(Probed(name, segmentation.score(confusion, np.arange(classes)), confusion, segment, variables))
    return found


def _baselines(run: Run) -> dict[str, list[Result]]:
    data, clusters = run.data, run.method.num_clusters
    batches = list(data.training_sample(_BASELINE_BATCHES))
    colours = baselines.pixel_centroids(batches, clusters, run.config['seed'])
    count = segmentation.make_counter(baselines.nearest_centroid, clusters, len(data.classes))
    descriptors = baselines.sift_centroids(batches, clusters, run.config['seed'])
    sift_count = baselines.make_sift_counter(clusters, len(data.classes))
    return {
        'untrained network': segmentation.evaluate(run.count, untrained(run), data.protocols, data.evaluation),
        'k-means on pixels': segmentation.evaluate(count, colours, data.protocols, data.evaluation),
        'k-means on SIFT': segmentation.evaluate(sift_count, descriptors, data.protocols, data.evaluation),
    }


def _headline(result: Result) -> tuple[float, float]:
    return result.scores.accuracy, result.scores.mean_iou


def _print_table(run: Run, rows: Mapping[str, list[Result]], probed: Sequence[Probed]):
    if not rows:
        reason = 'config.evaluation.protocols is empty' if run.data.classes else 'The data has no labels'
        print(f'{reason}: nothing was scored, and clusters have numbers instead of names.')
        return
    for index, protocol in enumerate(run.data.protocols):
        print(f'\n{protocol}')
        print(f'{"":30}{"accuracy":>10}{"mIoU":>10}')
        for name, results in rows.items():
            accuracy, mean_iou = _headline(results[index])
            _print_row(name, accuracy, mean_iou)
        scores = next(iter(rows.values()))[index].scores
        print(
            '  class (accuracy, IoU): '
            + '; '.join(
                f'{entry.name} {accuracy:.3f}, {iou:.3f}'
                for entry, accuracy, iou in zip(run.data.classes, scores.class_accuracy, scores.class_iou, strict=True)
            )
        )

    if probed:
        print(f'\nprobes {run.probes.in_words(run.data.probe_split, run.data.protocols[0].scored_on)}')
    for probe in probed:
        _print_row(probe.title, probe.scores.accuracy, probe.scores.mean_iou)


def _print_row(name: str, accuracy: float, mean_iou: float):
    print(f'{name:30}{accuracy:10.4f}{mean_iou:10.4f}')


def _save(run: Run, step: int, rows: Mapping[str, list[Result]], probed: Sequence[Probed]):
    """All numbers, and the class of each cluster under the first protocol."""
    if not rows:
        return
    classes = [entry._asdict() for entry in run.data.classes]
    own = next(iter(rows.values()))
    content = {
        'step': step,
        'device': f'{run.mesh.size} x {jax.devices()[0].device_kind}',
        'results': [
            {
                'method': name,
                'protocol': {**dataclasses.asdict(result.protocol), 'in_words': str(result.protocol)},
                **dataclasses.asdict(result.scores),
                'confusion': result.confusion.tolist(),
            }
            for name, results in rows.items()
            for result in results
        ],
        'probes': [
            {
                'probe': probe.name,
                'in_words': f'{probe.title} {run.probes.in_words(run.data.probe_split, own[0].protocol.scored_on)}',
                **dataclasses.asdict(probe.scores),
                'confusion': probe.confusion.tolist(),
            }
            for probe in probed
        ],
        'clusters': {'protocol': str(own[0].protocol), 'mapping': own[0].mapping.tolist(), 'classes': classes},
    }
    path = workdir.evaluation(run.directory, step)
    workdir.write_json(path, content)
    print(f'\nScores and the class of each cluster: {path}')
