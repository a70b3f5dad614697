"""How well label maps agree with the true ones of their images, whatever made them: scores, and intervals over the images."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ar_seg_jax.data.classes import UNMATCHED, Class
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import bootstrap, boundaries, scoring
from ar_seg_jax.interfaces import VOID

# A prediction, whose values are numbered from 0, VOID where there is none; and the label map, VOID where there is no label.
Pair = tuple[UInt8[np.ndarray, '_ _'], UInt8[np.ndarray, '_ _']]  # of one size, which is that of no other
Fit = Callable[[scoring.Confusion], Int[np.ndarray, 'values']]  # the class of each value of the predictions, UNMATCHED for none
Table = Float[np.ndarray, 'rows 3']  # accuracy, IoU, boundary F: of all classes together, and of each; NaN where there is none

_MEASURES = ('accuracy', 'iou', 'boundary_f')
_WIDEST = 12  # classes, of a confusion matrix that fits a screen
_SHORT = 12  # letters of the name of a class in its columns


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Counts over the images that have labelled pixels.

    mapping: class of each value of the predictions, the last of which is that of pixels without one. confusions: labelled pixels
    of each image by value and class. outlines: see `boundaries.Counts`. unlabelled: images that count nowhere. near: the
    tolerance of boundaries in pixels; 0 is that of `boundaries.tolerance`.
    """

    classes: Sequence[Class]
    mapping: Int[np.ndarray, 'values']
    confusions: Int[np.ndarray, 'images values classes']
    outlines: Int[np.ndarray, 'images classes 4']
    unlabelled: int
    near: float
    seed: int

    @property
    def confusion(self) -> scoring.Confusion:
        return self.confusions.sum(0)

    @functools.cached_property
    def table(self) -> Table:
        return self._table(self._counts.sum(0))

    @functools.cached_property
    def intervals(self) -> Float[np.ndarray, '2 rows 3'] | None:
        """See `bootstrap.intervals`. The class of each value stays what it is, in every drawing of images."""
        return bootstrap.intervals(self._table, self._counts, self.seed)

    @property
    def _counts(self) -> Int[np.ndarray, 'images counts']:
        return np.concatenate([part.reshape(len(part), -1) for part in (self.confusions, self.outlines)], axis=1)

    def _table(self, counts: Int[np.ndarray, 'counts']) -> Table:
        size = math.prod(self.confusions.shape[1:])
        scores = scoring.score(counts[:size].reshape(self.confusions.shape[1:]), self.mapping)
        f = boundaries.f_scores(counts[size:].reshape(-1, 4))
        mean_f = np.nan if np.isnan(f).all() else np.nanmean(f)
        rows = zip(scores.class_accuracy, scores.class_iou, f, strict=True)
        return np.array([(scores.accuracy, scores.mean_iou, mean_f), *rows])


def measure(
    pairs: Iterable[Pair], num_values: int, classes: Sequence[Class], fit: Fit, near: float = 0.0, seed: int = 0
) -> Agreement:
    """Scores all pairs, which are gone through twice: `fit` finds the class of each value on all of them first.

    Raises UserError if no pixel has a label.
    """
    confusions = np.stack([scoring.confusion_of_maps(*pair, num_values, len(classes)) for pair in pairs])
    there = confusions.any((1, 2))
    if not there.any():
        raise UserError('no pixel has a label, so there is nothing to match or score')
    mapping = fit(confusions[:, :num_values].sum(0))
    painted = np.append(np.where(mapping == UNMATCHED, VOID, mapping), [VOID] * (256 - num_values)).astype(np.uint8)
    outlines = np.stack(
        [
            boundaries.counts(painted[predicted], label, len(classes), near or boundaries.tolerance(*label.shape))
            for predicted, label in pairs
        ]
    )
    mapping = np.append(mapping, UNMATCHED)
    return Agreement(classes, mapping, confusions[there], outlines[there], int(np.sum(~there)), near, seed)


def lines(found: Agreement) -> list[str]:
    """For people."""
    confusion, names = found.confusion, [entry.name for entry in found.classes]
    count, pixels = len(found.confusions), confusion.sum()
    shares = ['', *(f'{share:.2%}' for share in confusion.sum(0) / pixels)]
    width = max(len(name) for name in ('all (mean)', *names)) + 2
    heading = f'{"":{width}}{"share":>8}' + ''.join(f'  {word:26}' for word in ('accuracy', 'IoU', 'boundary F'))
    rows = [
        f'{name:{width}}{share:>8}' + ''.join(f'  {cell:26}' for cell in cells)
        for name, share, cells in zip(['all (mean)', *names], shares, _cells(found), strict=True)
    ]
    return [
        f'{count} images, {pixels:,} labelled pixels' + _left_out(found),
        '',
        *(line.rstrip() for line in (heading, *rows)),
        '',
        *_notes(found),
        '',
        *_confusion_lines(found),
    ]


def content(found: Agreement) -> dict[str, Any]:
    """As it is saved in JSON; null where there is no score, or no interval."""
    scores = _as_content(found, 0)
    return {
        'images': len(found.confusions),
        'images_without_labels': found.unlabelled,
        'pixels': int(found.confusion.sum()),
        'interval': f'{bootstrap.LEVEL} %: {_drawing(found)}',
        'boundary_tolerance': _tolerance(found),
        'scores': {'accuracy': scores['accuracy'], 'mean_iou': scores['iou'], 'mean_boundary_f': scores['boundary_f']},
        'classes': [
            {**entry._asdict(), 'pixels': int(pixels), **_as_content(found, index)}
            for index, (entry, pixels) in enumerate(zip(found.classes, found.confusion.sum(0), strict=True), 1)
        ],
        'mapping': found.mapping[:-1].tolist(),
        'confusion': found.confusion[:-1].tolist(),
        'without_prediction': found.confusion[-1].tolist(),
    }


def _as_content(found: Agreement, row: int) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    ends = found.intervals
    return {
        name: {
            'value': number(found.table[row, column]),
            'interval': None if ends is None or np.isnan(ends[0, row, column]) else ends[:, row, column].tolist(),
        }
        for column, name in enumerate(_MEASURES)
    }


def _cells(found: Agreement) -> list[list[str]]:
    ends = np.full((2, *found.table.shape), np.nan) if found.intervals is None else found.intervals
    return [
        [_cell(value, low, high) for value, low, high in zip(*of_row, strict=True)]
        for of_row in zip(found.table, *ends, strict=True)
    ]


def _cell(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return '-'
    return f'{value:.4f}' + ('' if np.isnan(low) else f' [{low:.4f}, {high:.4f}]')


def _left_out(found: Agreement) -> str:
    return f'; {found.unlabelled} images without any are left out' if found.unlabelled else ''


def _tolerance(found: Agreement) -> str:
    share = f'{100 * boundaries.SHARE:g} % of the diagonal of each image, at least {boundaries.LEAST:g} pixel'
    return f'{found.near:g} pixels' if found.near else share


def _drawing(found: Agreement) -> str:
    return (
        f'percentiles of {bootstrap.RESAMPLES} bootstrap resamples of the {len(found.confusions)} images (seed {found.seed}); '
        'classes are not matched anew for each'
    )


def _notes(found: Agreement) -> list[str]:
    brackets = (
        f'[ ]: {bootstrap.LEVEL} % intervals: {_drawing(found)}'
        if found.intervals is not None
        else 'No intervals: a single image says nothing about others'
    )
    boundary = (
        'boundary F: harmonic mean of two shares, of the predicted boundary pixels of a class near a true one, and of the true '
        f'ones near a predicted one; near is {_tolerance(found)}'
    )
    mean = 'all (mean): accuracy over all pixels, mean IoU and mean boundary F over classes; -: a class without such pixels'
    missing = found.confusion[-1].sum()
    without = f'{missing / found.confusion.sum():.2%} of the labelled pixels have no prediction ({VOID}), and count as wrong'
    return [mean, boundary, brackets, *([without] if missing else [])]


def _confusion_lines(found: Agreement) -> list[str]:
    """Per cent of the pixels of each class by the class that they are taken for."""
    if len(found.classes) > _WIDEST:
        return [f'The confusion matrix of {len(found.classes)} classes is in the JSON']
    taken = scoring.renamed(found.confusion, found.mapping)
    shares = 100 * taken / np.maximum(taken.sum(0), 1)
    names = [entry.name for entry in found.classes]
    columns = [*names, 'none'] if taken[-1].any() else names
    width = max(map(len, names)) + 2
    header = f'{"":{width}}' + ''.join(f'{name[:_SHORT]:>{_SHORT + 2}}' for name in columns)
    rows = [
        f'{name:{width}}' + ''.join(f'{share:>{_SHORT + 2}.1f}' for share in shares[: len(columns), index])
        for index, name in enumerate(names)
    ]
    return ['confusion: per cent of the pixels of a class (row) by what they are taken for (column)', header, *rows]
