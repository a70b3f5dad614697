"""The pictures of a run: images with their label maps, confusion, training curves."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from ar_seg_jax import files, records, workdir
from ar_seg_jax.classes import numbered
from ar_seg_jax.data import pipeline
from ar_seg_jax.evaluation import panels, pictures
from ar_seg_jax.evaluation.segmentation import Confusion, Result, Scores
from ar_seg_jax.run import Run
from ar_seg_jax.training import sharding
from ar_seg_jax.training.state import TrainState

_RANKED = 100  # images of the scored split among which the best, median and worst are looked for


@dataclasses.dataclass(frozen=True)
class Probed:
    """A trained probe: its '<kind>:<tap>', its scores, and `segment` with the `variables` to call it with."""

    name: str
    scores: Scores
    confusion: Confusion
    segment: Callable
    variables: Any

    @property
    def title(self) -> str:
        kind, tap = self.name.split(':')
        return f'{kind} probe of {tap}'


def sample(run: Run, state: TrainState, result: Result | None) -> UInt8[np.ndarray, 'height width 3'] | None:
    """Writes some images of the scored split with their labels and predictions; process 0 only, and if the config asks."""
    count = run.config['evaluation']['pictures']
    if jax.process_index() or not count:
        return None
    chosen = _spread(run, count)
    size = min(min(example['label'].shape) for example in chosen)
    classes = run.data.classes if result else numbered('cluster', run.method.num_clusters)
    state = sharding.local(state)
    rows = []
    for example in chosen:
        image, label = example['image'][:size, :size], example['label'][:size, :size]
        painted = pictures.paint(_predicted(run, state, result, image), classes)
        truth = [pictures.paint(label, classes)] if result else []
        rows.append([image[..., :3], *truth, painted, pictures.overlay(image, painted)])
    titles = ['image', *(['label (black: none)'] if result else []), 'prediction', 'overlay']
    step = int(state.step)
    panel = pictures.panel(rows, titles, classes, f'{run.directory.name}, step {step}')
    files.write(workdir.picture(run.directory, step), pictures.png(panel))
    return np.asarray(panel)


def write(run: Run, state: TrainState, result: Result | None, probed: Sequence[Probed]) -> list[Path]:
    """Writes all pictures of a state whose evaluation is over, and the curves of its run; process 0 only, and if the config
    asks. Returns where they are."""
    if jax.process_index() or not run.config['evaluation']['pictures']:
        return []
    from ar_seg_jax.evaluation import plots  # Matplotlib takes half a second, which no first step should wait for

    step = int(state.step)
    sample(run, state, result)
    contents = {}
    if result:
        if panel := _panel(run, state, result, probed):
            contents[workdir.picture(run.directory, step, 'panel')] = pictures.png(panel)
        confusion = plots.confusion(result.confusion, result.mapping, run.data.classes, f'{run.directory.name}, step {step}')
        contents[workdir.picture(run.directory, step, 'confusion')] = plots.png(confusion)
    found = records.read(run.directory / 'metrics.jsonl')
    if any(record['kind'] == 'training' for record in found):
        contents[workdir.curves(run.directory)] = plots.png(plots.curves(found, run.directory.name))
    for path, content in contents.items():
        files.write(path, content)
    return [workdir.picture(run.directory, step), *contents]


def _panel(run: Run, state: TrainState, result: Result, probed: Sequence[Probed]) -> Image.Image | None:
    """The best, median and worst images by accuracy, with the predictions of the network and of its probes; None if none of
    those looked at has a label."""
    state = sharding.local(state)
    probes = [(jax.jit(probe.segment), sharding.local(probe.variables)) for probe in probed]
    chosen = _spread(run, _RANKED)
    predicted = [_predicted(run, state, result, example['image']) for example in chosen]
    accuracies = np.concatenate(
        [panels.pixel_accuracy(one[None], example['label'][None]) for one, example in zip(predicted, chosen, strict=True)]
    )
    rows = []
    for group, members in panels.ranked(accuracies, max(1, run.config['evaluation']['pictures'] // 3)).items():
        for index in members:
            image = chosen[index]['image']
            of_probes = [np.asarray(segment(variables, image[None]))[0] for segment, variables in probes]
            labels = [chosen[index]['label'], predicted[index], *of_probes]
            rows.append(panels.Row(group, float(accuracies[index]), image, labels))
    if not rows:
        return None
    titles = ['ground truth', run.title, *(probe.name.removesuffix(':features') for probe in probed)]
    split = run.data.picture_split
    caption = f'{run.directory.name}, step {int(state.step)}: best, median and worst of {len(chosen)} images of {split!r}'
    return panels.draw(rows, titles, run.data.classes, caption)


def _spread(run: Run, count: int) -> list[pipeline.Example]:
    """Up to `count` examples of the split for pictures, evenly spread."""
    examples = run.data.examples(run.data.picture_split)
    places = np.linspace(0, len(examples) - 1, min(count, len(examples)))
    return [pipeline.decode(examples[int(place)]) for place in places]


def _predicted(run: Run, state: TrainState, result: Result | None, image) -> Integer[np.ndarray, 'height width']:
    """The class of each pixel, or its cluster where nothing names the classes; `state` is on one device."""
    clusters = np.asarray(run.segment(state, image[None]))[0]
    return pictures.classes_of(clusters, result.mapping) if result else clusters
