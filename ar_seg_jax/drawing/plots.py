"""Plots of a run: who is confused with whom, and how training went."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ar_seg_jax.data.classes import UNMATCHED, Class
from ar_seg_jax.errors import UserError

Confusion = Int[np.ndarray, 'clusters classes']

_NUMBERED_CELLS = 400  # more of them are too small for numbers
_LONGEST_NAME = 28  # characters
_BLUE, _GREY, _PALE = '#2468a8', '#6b7280', '#e5e7eb'
_OF_PROTOCOLS = (_BLUE, '#d97706', '#15803d', '#9333ea', '#be123c')
_SCORES = {'accuracy': ('accuracy', '-'), 'mean_iou': ('mIoU', '--'), 'ari_fg': ('ARI-FG', '-'), 'msc_fg': ('MSC-FG', ':')}
_MARKED = 60  # points; more of them make a band of their markers


def png(figure: Figure) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format='png', metadata={'Software': None}, pil_kwargs={'optimize': True})
    return stream.getvalue()


def confusion(confusion: Confusion, mapping: Int[np.ndarray, 'clusters'], classes: Sequence[Class], title: str) -> Figure:
    """A confusion matrix, as shares of the pixels of each class: columns sum to one.

    Clusters are rows, in the order of their classes and those without a class last, so that what is right goes down from the
    top left. The column of a class without pixels is grey.
    """
    order = np.argsort(np.where(mapping == UNMATCHED, len(classes), mapping), kind='stable')
    rows = [_cluster_name(index, int(mapping[index]), classes) for index in order.tolist()]
    columns = [_clip(entry.name) for entry in classes]
    shares = _shares(confusion)[order]

    numbered = shares.size <= _NUMBERED_CELLS
    cell, text = (0.5, 9) if numbered else (0.2, 7)  # inches, points
    width, height = (0.01 * text * max(map(len, names)) for names in (rows, columns))  # of the names, in inches
    size = (cell * len(columns) + width + 2, max(cell * len(rows), 2) + height + 1.2)
    figure = Figure(figsize=size, dpi=100, layout='constrained')
    figure.suptitle(title, fontsize=11, parse_math=False, wrap=True)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap=colormaps['Blues'].with_extremes(bad=_PALE), vmin=0, vmax=1, aspect='auto')
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha='right', rotation_mode='anchor', parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set(xlabel='class', ylabel='cluster (its class)')
    axes.tick_params(length=0, labelsize=text)
    figure.colorbar(image, ax=axes, label="share of the class's pixels", aspect=30)
    if numbered:
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
            axes.text(
                column, row, f'{share:.2f}', ha='center', va='center', fontsize=8, color='white' if share > 0.5 else 'black'
            )


def curves(records: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """A run over its steps, from the records of its `metrics.jsonl` (see `training.records.read`).

    Above: mutual information in nats and, dashed, its bound; the loss, where the objective knows no mutual information. Below:
    accuracy and mIoU, or mIoU, ARI-FG and MSC-FG of objects, where there were labels to evaluate with. A null interrupts its
    line.

    Raises UserError if there is nothing to draw.
    """
    training = [record for record in records if record['kind'] == 'training']
    evaluations = [record for record in records if record['kind'] == 'evaluation']
    protocols = _protocols(evaluations)
    if not training and not protocols:
        raise UserError('there are neither records of training nor scores to draw')

    count = bool(training) + bool(protocols)
    figure = Figure(figsize=(8, 2.9 * count + 0.5), dpi=100, layout='constrained')
    figure.suptitle(title, fontsize=11, parse_math=False)
    axes = figure.subplots(count, sharex=True, squeeze=False)[:, 0]
    if training:
        _draw_training(axes[0], training)
    if protocols:
        _draw_scores(axes[-1], evaluations, protocols)
    for each in axes:
        each.grid(color=_PALE)
        each.spines[['top', 'right']].set_visible(False)
        each.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
    axes[-1].set(xlabel='step', xlim=(0, 1.02 * max(1, *(record['step'] for record in records))))
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _protocols(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The protocols of scores that are called '<protocol>/accuracy', '<protocol>/mean_iou', and so on."""
    parts = (name.rpartition('/') for record in evaluations for name in record)
    return list(dict.fromkeys(protocol for protocol, slash, score in parts if slash and score in _SCORES))


def _draw_training(axes: Axes, records: Sequence[Mapping[str, Any]]):
    if any('mutual_information' in record for record in records):
        _draw_line(axes, records, 'mutual_information', label='mutual information', color=_BLUE)
        _draw_line(axes, records, 'mutual_information_bound', label='its bound', color=_GREY, linestyle='--')
        axes.set_ylabel('nats')
    else:
        _draw_line(axes, records, 'loss', label='loss', color=_BLUE)
        axes.set_ylabel('loss')


def _draw_scores(axes: Axes, records: Sequence[Mapping[str, Any]], protocols: Sequence[str]):
    for index, protocol in enumerate(protocols):
        colour = _OF_PROTOCOLS[index % len(_OF_PROTOCOLS)]
        for score, (words, style) in _SCORES.items():
            name = f'{protocol}/{score}'
            if any(name in record for record in records):
                _draw_line(axes, records, name, label=f'{words}, {protocol}', color=colour, linestyle=style)
    axes.set(ylim=(0, 1.02), ylabel='share')


def _draw_line(axes: Axes, records: Sequence[Mapping[str, Any]], name: str, **style):
    """The values called `name` of the records that have them; null becomes NaN, which matplotlib leaves out."""
    points = [(record['step'], math.nan if record[name] is None else record[name]) for record in records if name in record]
    steps, values = zip(*points, strict=True) if points else ((), ())
    axes.plot(steps, values, marker='o' if len(points) <= _MARKED else None, markersize=3, **style)
