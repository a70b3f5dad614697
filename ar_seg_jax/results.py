"""What is found out about the state of a run: scores beside baselines, tables, pictures."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from jaxtyping import UInt8

from ar_seg_jax import files, workdir
from ar_seg_jax.classes import numbered
from ar_seg_jax.data import pipeline
from ar_seg_jax.evaluation import baselines, pictures, segmentation
from ar_seg_jax.evaluation.segmentation import Result
from ar_seg_jax.interfaces import Batch
from ar_seg_jax.run import Run, initial_state
from ar_seg_jax.training import sharding
from ar_seg_jax.training.metrics import Evaluation
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)

_BASELINE_BATCHES = 20  # training batches from which k-means draws pixels and boxes


def evaluate(run: Run, batches: Callable[[str], Iterable[Batch]], state: TrainState) -> Evaluation:
    """Scores under the first protocol, where there is one, and the pictures."""
    if not run.data.protocols:
        return Evaluation({}, _draw(run, state, None))
    (result,) = segmentation.evaluate(run.count, state, run.data.protocols[:1], batches)
    accuracy, mean_iou = _headline(result)
    _logger.info('step %d  accuracy %.4f  mIoU %.4f  (%s)', state.step, accuracy, mean_iou, result.protocol)
    name = result.protocol.short
    return Evaluation({f'{name}/accuracy': accuracy, f'{name}/mean_iou': mean_iou}, _draw(run, state, result))


def report(run: Run, state: TrainState):
    """Scores a state under every protocol, beside the baselines if the config asks for them; prints, and writes files."""
    step = int(state.step)
    rows: dict[str, list[Result]] = {}
    if run.data.protocols:
        name = f'{run.config["method"]["name"].upper()}, step {step}'
        rows[name] = segmentation.evaluate(run.count, state, run.data.protocols, run.data.evaluation)
        if run.config['evaluation']['baselines']:
            rows |= _baselines(run)
    if jax.process_index() == 0:
        _print_table(run, rows)
        _save(run, step, rows)
    if _draw(run, state, next(iter(rows.values()))[0] if rows else None) is not None:
        print(f'Pictures: {workdir.picture(run.directory, step)}')


def _baselines(run: Run) -> dict[str, list[Result]]:
    data, clusters = run.data, run.method.num_clusters
    batches = data.training_sample(_BASELINE_BATCHES)
    colours = baselines.pixel_centroids(batches, clusters, run.config['seed'])
    count = segmentation.make_counter(baselines.nearest_centroid, clusters, len(data.classes))
    descriptors = baselines.sift_centroids(batches, clusters, run.config['seed'])
    sift_count = baselines.make_sift_counter(clusters, len(data.classes))
    return {
        'untrained network': segmentation.evaluate(run.count, initial_state(run), data.protocols, data.evaluation),
        'k-means on pixels': segmentation.evaluate(count, colours, data.protocols, data.evaluation),
        'k-means on SIFT': segmentation.evaluate(sift_count, descriptors, data.protocols, data.evaluation),
    }


def _headline(result: Result) -> tuple[float, float]:
    return result.scores.accuracy, result.scores.mean_iou


def _print_table(run: Run, rows: Mapping[str, list[Result]]):
    if not rows:
        reason = 'config.evaluation.protocols is empty' if run.data.classes else 'The data has no labels'
        print(f'{reason}: nothing was scored, and clusters have numbers instead of names.')
        return
    for index, protocol in enumerate(run.data.protocols):
        print(f'\n{protocol}')
        print(f'{"":24}{"accuracy":>10}{"mIoU":>10}')
        for name, results in rows.items():
            accuracy, mean_iou = _headline(results[index])
            print(f'{name:24}{accuracy:10.4f}{mean_iou:10.4f}')
        scores = next(iter(rows.values()))[index].scores
        print(
            '  class (accuracy, IoU): '
            + '; '.join(
                f'{entry.name} {accuracy:.3f}, {iou:.3f}'
                for entry, accuracy, iou in zip(run.data.classes, scores.class_accuracy, scores.class_iou, strict=True)
            )
        )


def _save(run: Run, step: int, rows: Mapping[str, list[Result]]):
    """All numbers, and the class of each cluster under the first protocol."""
    if not rows:
        return
    classes = [entry._asdict() for entry in run.data.classes]
    own = next(iter(rows.values()))
    content = {
        'step': step,
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
        'clusters': {'protocol': str(own[0].protocol), 'mapping': own[0].mapping.tolist(), 'classes': classes},
    }
    path = workdir.evaluation(run.directory, step)
    workdir.write_json(path, content)
    print(f'\nScores and the class of each cluster: {path}')


def _draw(run: Run, state: TrainState, result: Result | None) -> UInt8[np.ndarray, 'height width 3'] | None:
    """Writes some images of the scored split with their labels and predictions; process 0 only, and if the config asks."""
    if jax.process_index() or not run.config['evaluation']['pictures']:
        return None
    state = sharding.local(state)
    examples = run.data.examples(run.data.picture_split)
    count = min(run.config['evaluation']['pictures'], len(examples))
    chosen = [pipeline.decode(examples[int(index)]) for index in np.linspace(0, len(examples) - 1, count)]
    size = min(min(example['label'].shape) for example in chosen)
    classes = run.data.classes if result else numbered('cluster', run.method.num_clusters)
    rows = []
    for example in chosen:
        image, label = example['image'][:size, :size], example['label'][:size, :size]
        clusters = np.asarray(run.segment(state, image[None]))[0]
        predicted = pictures.classes_of(clusters, result.mapping) if result else clusters
        painted = pictures.paint(predicted, classes)
        truth = [pictures.paint(label, classes)] if result else []
        rows.append([image[..., :3], *truth, painted, pictures.overlay(image, painted)])
    titles = ['image', *(['label (black: none)'] if result else []), 'prediction', 'overlay']
    step = int(state.step)
    caption = f'{run.directory.name}, step {step}'
    panel = pictures.panel(rows, titles, classes, caption)
    files.write(workdir.picture(run.directory, step), pictures.png(panel))
    return np.asarray(panel)
