"""Plots of a run: who is confused with whom, and how training went."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ar_seg_jax.classes import Class
from ar_seg_jax.evaluation.matching import UNMATCHED
from ar_seg_jax.evaluation.segmentation import Confusion

_NUMBERED_CELLS = 400  # beyond that numbers are too small to be read
_LONGEST_NAME = 28  # characters
_FOUND, _BOUND, _CYCLE = '#2468a8', '#6b7280', ('#2468a8', '#d97706', '#15803d', '#9333ea', '#be123c')


def png(figure: Figure) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format='png', metadata={'Software': None}, pil_kwargs={'optimize': True})
    return stream.getvalue()


def confusion(confusion: Confusion, mapping: Int[np.ndarray, 'clusters'], classes: Sequence[Class], title: str) -> Figure:
    """The confusion matrix of a `segmentation.Result`, as shares of the pixels of each class: columns sum to one.

    Clusters are rows, in the order of their classes, those without a class last: what is right lies on the diagonal. A
    column without pixels is empty.
    """
    order = np.argsort(np.where(mapping == UNMATCHED, len(classes), mapping), kind='stable')
    rows = [_cluster_name(index, mapping[index], classes) for index in order]
    columns = [_clip(entry.name) for entry in classes]
    shares = _shares(confusion)[order]

    cell = 0.55 if shares.size <= _NUMBERED_CELLS else 0.22  # inches
    figure = Figure(figsize=(cell * len(columns) + 4.2, cell * len(rows) + 2.6), dpi=100, layout='constrained')
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=1, aspect='equal')
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha='right', rotation_mode='anchor', parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set(xlabel='class', ylabel='cluster (its class)')
    axes.tick_params(length=0, labelsize=9 if cell > 0.5 else 7)
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the class's pixels", shrink=0.8)
    if shares.size <= _NUMBERED_CELLS:
        _write_numbers(axes, shares)
    return figure


def _shares(confusion: Confusion) -> Float[np.ndarray, 'clusters classes']:
    """Columns that sum to one; NaN for a class without pixels."""
    with np.errstate(invalid='ignore'):
        return confusion / confusion.sum(0, keepdims=True)


def _cluster_name(cluster: int, of_class: int, classes: Sequence[Class]) -> str:
    return f'cluster {cluster} ({"no class" if of_class == UNMATCHED else _clip(classes[of_class].name)})'


def _clip(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f'{name[: _LONGEST_NAME - 1]}…'


def _write_numbers(axes: Axes, shares: Float[np.ndarray, 'clusters classes']):
    for (row, column), share in np.ndenumerate(shares):
        if not math.isnan(share):
            axes.text(column, row, f'{share:.2f}', ha='center', va='center', fontsize=8, color='white' if share > 0.5 else 'black')


def curves(records: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Training over steps, from the records of `metrics.jsonl`, see `training.metrics.records`.

    Above: mutual information in nats and, dashed, its bound; the loss where an objective has no mutual information. Below:
    accuracy and mIoU of the evaluations, where there are any. A null interrupts its line.

    Raises ValueError where there is nothing to draw.
    """
    training = [record for record in records if record['kind'] == 'training']
    scores = _evaluations([record for record in records if record['kind'] == 'evaluation'])
    if not training and not scores:
        raise ValueError('there are no records of training and no scores to draw curves of')
    drawings = [lambda axes: _draw_training(axes, training)] if training else []
    drawings += [lambda axes: _draw_scores(axes, scores)] if scores else []

    figure = Figure(figsize=(8, 2.9 * len(drawings) + 0.5), dpi=100, layout='constrained')
    figure.suptitle(title, fontsize=11, parse_math=False)
    axes = figure.subplots(len(drawings), sharex=True, squeeze=False)[:, 0]
    for draw, of_draw in zip(drawings, axes, strict=True):
        draw(of_draw)
        of_draw.grid(color='#e5e7eb')
        of_draw.set_axisbelow(True)
        of_draw.spines[['top', 'right']].set_visible(False)
        of_draw.legend(loc='upper left', bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    axes[-1].set_xlabel('step')
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure
