"""Lines over steps as SVG, with their numbers in a table for those who do not see them."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from matplotlib.ticker import MaxNLocator

from ar_seg_jax.drawing.series import Line
from ar_seg_jax.reporting.elements import element, number, table

_WIDTH, _HEIGHT = 720, 260  # units of the drawing
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 40  # margins
_COLOURS = 5  # that the style has
_DASHES = {'-': None, '--': '7 4', ':': '2 4'}
SHARE = 'share'  # the unit of what is between 0 and 1
_DRAWN, _WRITTEN = 400, 12  # points of a line in the drawing, and rows of the table


class _Scale(NamedTuple):
    """From values between `low` and `high` to places from `start` to `end`."""

    low: float
    high: float
    start: int
    end: int
    ticks: Sequence[float]

    def __call__(self, value: int | float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def chart(title: str, unit: str, lines: Sequence[Line], id_: str) -> Element:
    """A figure: the lines, which is which, and a table. Shares are drawn from 0 to 1."""
    lines = [line for line in lines if any(math.isfinite(value) for _, value in line.points)]
    steps = [step for line in lines for step, _ in line.points]
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    x = _scale([0, *steps], _LEFT, _WIDTH - _RIGHT, whole=True)
    y = _scale([0, 1] if unit == SHARE else values, _HEIGHT - _BOTTOM, _TOP)
    drawing = element(
        'svg',
        element('title', title, id=f'{id_}-name'),
        element('desc', _in_words(lines), id=f'{id_}-words'),
        *_axes(x, y, unit),
        *(path for line in lines for path in _paths(line, x, y)),
        viewBox=f'0 0 {_WIDTH} {_HEIGHT}',
        role='img',
        aria_labelledby=f'{id_}-name {id_}-words',
    )
    legend = element('ul', *(element('li', _sample(line), line.label) for line in lines), class_='legend')
    numbers = element('details', element('summary', f'Numbers: {title}'), _numbers(title, lines))
    return element('figure', element('figcaption', title, legend), drawing, numbers, class_='chart')


def _scale(values: Sequence[int | float], start: int, end: int, whole: bool = False) -> _Scale:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ticks = MaxNLocator(5, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return _Scale(low, high, start, end, [float(tick) for tick in ticks if low <= tick <= high])


def _axes(x: _Scale, y: _Scale, unit: str) -> Iterator[Element]:
    for tick in y.ticks:
        yield element('path', d=f'M{x.start} {y(tick)}H{x.end}', class_='grid')
        yield element('text', f'{tick:g}', x=x.start - 6, y=y(tick) + 4, text_anchor='end')
    for tick in x.ticks:
        yield element('text', f'{tick:g}', x=x(tick), y=y.start + 18, text_anchor='middle')
    yield element('text', 'step', x=x.end, y=y.start + 34, text_anchor='end')
    yield element('text', unit, x=x.start, y=y.start + 34)


def _paths(line: Line, x: _Scale, y: _Scale) -> Iterator[Element]:
    """A path for each part without NaN, which is a point if it is of one."""
    points = _some(line.points, _DRAWN)
    ends = [-1, *(index for index, (_, value) in enumerate(points) if not math.isfinite(value)), len(points)]
    for before, after in itertools.pairwise(ends):
        part = [f'{x(step)} {y(value)}' for step, value in points[before + 1 : after]]
        if len(part) == 1:
            yield element('path', d=f'M{part[0]}h0', class_=f'{_colour(line)} point')
        elif part:
            yield element('path', d='M' + 'L'.join(part), class_=_colour(line), stroke_dasharray=_DASHES[line.style])


def _sample(line: Line) -> Element:
    path = element('path', d='M0 5H28', class_=_colour(line), stroke_dasharray=_DASHES[line.style])
    return element('svg', path, viewBox='0 0 28 10', class_='sample', aria_hidden='true')


def _colour(line: Line) -> str:
    return 'line limit' if line.family is None else f'line line-{line.family % _COLOURS}'


def _some(points: Sequence[tuple[int, float]], count: int) -> Sequence[tuple[int, float]]:
    """Up to so many of the points, evenly spread, the first and the last among them."""
    places = np.unique(np.linspace(0, len(points) - 1, min(count, len(points))).round().astype(int))
    return [points[place] for place in places.tolist()]


def _in_words(lines: Sequence[Line]) -> str:
    parts = []
    for line in lines:
        finite = [point for point in line.points if math.isfinite(point[1])]
        (first, begin), (last, end) = finite[0], finite[-1]
        parts.append(f'{line.label}: from {begin:.4g} at step {first} to {end:.4g} at step {last}')
    return '; '.join(parts)


def _numbers(title: str, lines: Sequence[Line]) -> Element:
    values = [dict(line.points) for line in lines]
    steps = _some([(step, 0.0) for step in sorted({step for one in values for step in one})], _WRITTEN)
    rows = [(str(step), [number(one.get(step, math.nan), 4) for one in values]) for step, _ in steps]
    return table(f'{title}: {len(rows)} steps', ['step', *(line.label for line in lines)], rows)
