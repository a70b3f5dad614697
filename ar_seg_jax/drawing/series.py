"""The lines that are drawn of a run, over its steps: how training went, and scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Records = Sequence[Mapping[str, Any]]

_SCORES = {'accuracy': ('accuracy', '-'), 'mean_iou': ('mIoU', '--'), 'ari_fg': ('ARI-FG', '-'), 'msc_fg': ('MSC-FG', ':')}


class Line(NamedTuple):
    """Steps and values; a value that is NaN interrupts the line.

    family: lines of the same have the same colour; None for what only limits another line. style: '-', '--' or ':'.
    """

    label: str
    points: Sequence[tuple[int, float]]
    family: int | None = 0
    style: str = '-'


def training(records: Records) -> tuple[str, list[Line]]:
    """The unit of what was trained for, and its lines: mutual information and, dashed, its bound; the loss, where the objective
    knows no mutual information. No lines without records of training."""
    found = [record for record in records if record['kind'] == 'training']
    if any('mutual_information' in record for record in found):
        bound = Line('its bound', _points(found, 'mutual_information_bound'), None, '--')
        return 'nats', [Line('mutual information', _points(found, 'mutual_information')), bound]
    return 'loss', [Line('loss', _points(found, 'loss'))] if found else []


def scores(records: Records) -> list[Line]:
    """Accuracy and mIoU, or mIoU, ARI-FG and MSC-FG of objects, where there were labels to evaluate with: of each protocol, which
    is a family."""
    found = [record for record in records if record['kind'] == 'evaluation']
    return [
        Line(f'{words}, {protocol}', points, family, style)
        for family, protocol in enumerate(_protocols(found))
        for score, (words, style) in _SCORES.items()
        if (points := _points(found, f'{protocol}/{score}'))
    ]


def _protocols(evaluations: Records) -> list[str]:
    """The protocols of scores that are called '<protocol>/accuracy', '<protocol>/mean_iou', and so on."""
    parts = (name.rpartition('/') for record in evaluations for name in record)
    return list(dict.fromkeys(protocol for protocol, slash, score in parts if slash and score in _SCORES))


def _points(records: Records, name: str) -> list[tuple[int, float]]:
    """The values called `name` of the records that have them; null becomes NaN."""
    return [(record['step'], math.nan if record[name] is None else record[name]) for record in records if name in record]
