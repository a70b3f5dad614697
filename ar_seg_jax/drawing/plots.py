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

from ar_seg_jax.data.classes import Class
from ar_seg_jax.drawing import confusions, series
from ar_seg_jax.drawing.confusions import Confusion
from ar_seg_jax.errors import UserError

_NUMBERED_CELLS = 400  # more of them are too small for numbers
_BLUE, _GREY, _PALE = '#2468a8', '#6b7280', '#e5e7eb'
_OF_PROTOCOLS = (_BLUE, '#d97706', '#15803d', '#9333ea', '#be123c')
_MARKED = 60  # points; more of them make a band of their markers


def png(figure: Figure) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format='png', metadata={'Software': None}, pil_kwargs={'optimize': True})
    return stream.getvalue()


def confusion(confusion: Confusion, mapping: Int[np.ndarray, 'clusters'], classes: Sequence[Class], title: str) -> Figure:
    """A confusion matrix, as shares of the pixels of each class: columns sum to one.

    See `confusions.Shares`. The column of a class without pixels is grey.
    """
    rows, columns, shares = confusions.shares(confusion, mapping, classes)

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
    (unit, training), scores = series.training(records), series.scores(records)
    if not training and not scores:
        raise UserError('there are neither records of training nor scores to draw')

    count = bool(training) + bool(scores)
    figure = Figure(figsize=(8, 2.9 * count + 0.5), dpi=100, layout='constrained')
    figure.suptitle(title, fontsize=11, parse_math=False)
    axes = figure.subplots(count, sharex=True, squeeze=False)[:, 0]
    for line in training:
        _draw_line(axes[0], line)
    for line in scores:
        _draw_line(axes[-1], line)
    axes[0].set_ylabel(unit)
    if scores:
        axes[-1].set(ylim=(0, 1.02), ylabel='share')
    for each in axes:
        each.grid(color=_PALE)
        each.spines[['top', 'right']].set_visible(False)
        each.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
    axes[-1].set(xlabel='step', xlim=(0, 1.02 * max(1, *(record['step'] for record in records))))
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _draw_line(axes: Axes, line: series.Line):
    """NaN is left out by matplotlib."""
    steps, values = zip(*line.points, strict=True) if line.points else ((), ())
    marker = 'o' if len(line.points) <= _MARKED else None
    colour = _GREY if line.family is None else _OF_PROTOCOLS[line.family % len(_OF_PROTOCOLS)]
    axes.plot(steps, values, marker=marker, markersize=3, label=line.label, color=colour, linestyle=line.style)
