"""The pictures of a run: some images with their label maps, the best and the worst of them, training curves."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer
from PIL import Image

from ar_seg_jax.data import pipeline
from ar_seg_jax.data.classes import Class, objects
from ar_seg_jax.drawing import label_maps, panels
from ar_seg_jax.evaluation.evaluator import Column
from ar_seg_jax.evaluation.instances import of_maps
from ar_seg_jax.interfaces import VOID

LabelMap = Integer[np.ndarray, 'height width']

_SMALLEST = 120  # pixels of a side of a picture
RANKED = 100  # images of a split among which the best, median and worst are looked for

png = label_maps.png


def spread(examples: pipeline.Prepared, count: int) -> list[pipeline.Example]:
    """Up to `count` examples of a split, evenly spread."""
    places = np.linspace(0, len(examples) - 1, min(count, len(examples)))
    return [pipeline.decode(examples[int(place)]) for place in places]


def sample(
    examples: Sequence[pipeline.Example], column: Column, classes: Sequence[Class], instances: bool, caption: str
) -> Image.Image:
    """Images beside their labels, where these have the classes of the column or are of objects, its views and its label maps.

    Small ones are enlarged, each pixel to a square of them, so that titles fit.
    """
    labelled = instances or column.classes == classes
    named = objects(VOID - 1) if instances else classes
    height, width = np.min([example['label'].shape for example in examples], axis=0)
    rows = []
    for example in examples:
        image, label = example['image'][:height, :width], example['label'][:height, :width]
        painted = label_maps.paint(column.label_map(image), column.classes)
        truth = [label_maps.paint(label, named)] if labelled else []
        views = [view(image)[..., :3] for view in column.views.values()]
        rows.append([image[..., :3], *truth, *views, painted, label_maps.overlay(image, painted)])
    times = -(-_SMALLEST // min(height, width))
    rows = [[picture.repeat(times, 0).repeat(times, 1) for picture in row] for row in rows]
    titles = ['image', *(['label (black: none)'] if labelled else []), *column.views, 'prediction', 'overlay']
    return label_maps.panel(rows, titles, column.classes, caption)


def panel(
    examples: Sequence[pipeline.Example],
    split: str,
    columns: Sequence[Column],
    classes: Sequence[Class],
    instances: bool,
    count: int,
    caption: str,
) -> Image.Image | None:
    """The best, median and worst images by the accuracy of the first column, with the label maps of all columns of classes; by
    its mIoU where labels are of objects. None where nothing is labelled."""
    columns = [column for column in columns if instances or (classes and column.classes == classes)]
    if not columns:
        return None
    rows = []
    for row in ranked(examples, columns[0], instances, max(1, count // 3)):
        others = [column.label_map(row.image) for column in columns[1:]]
        rows.append(dataclasses.replace(row, labels=[*row.labels, *others]))
    if not rows:
        return None
    if instances:
        classes = objects(int(max(one[one != VOID].max(initial=0) for row in rows for one in row.labels)))
    titles = ['ground truth', *(column.title for column in columns)]
    caption = (
        f'{caption}: best, median and worst of {len(examples)} images of {split!r}, by {"mIoU" if instances else "accuracy"}'
    )
    return panels.draw(rows, titles, classes, caption)


def ranked(examples: Sequence[pipeline.Example], column: Column, instances: bool, per_group: int) -> list[panels.Compared]:
    """The best, median and worst images by the accuracy of a column, by its mIoU where labels are of objects; with their labels
    and its label maps."""
    predicted = [column.label_map(example['image']) for example in examples]
    measure = _mean_iou if instances else _accuracy
    scores = np.array([measure(one, example['label']) for one, example in zip(predicted, examples, strict=True)])
    return [
        panels.Compared(group, float(scores[index]), examples[index]['image'], [examples[index]['label'], predicted[index]])
        for group, members in panels.ranked(scores, per_group).items()
        for index in members
    ]


def _accuracy(predicted: LabelMap, label: LabelMap) -> float:
    return float(panels.pixel_accuracy(predicted[None], label[None])[0])


def _mean_iou(predicted: LabelMap, label: LabelMap) -> float:
    return of_maps(predicted, label)['mean_iou']


def curves(records: Sequence[Mapping[str, Any]], title: str) -> bytes | None:
    """A PNG file of how training went; None where there are no records of it."""
    from ar_seg_jax.drawing import plots  # Matplotlib takes half a second, which no first step should wait for

    return plots.png(plots.curves(records, title)) if any(record['kind'] == 'training' for record in records) else None
