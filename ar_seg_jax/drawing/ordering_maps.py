"""Drawings of scanning orders and of what a pixel reads, after Figures 2 and 3 of the supplement."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

_LATER, _UNREAD, _READ, _TARGET = '#ffffff', '#fde8bf', '#4a90d9', '#d62839'
_GRID = '#c9ced6'
_MEANINGS = {
    'the pixel': _TARGET,
    'read: the gradient is not zero': _READ,
    'earlier, but not read': _UNREAD,
    'later': _LATER,
}
_PANEL = 1.5  # inches a side
_LARGEST_WITH_GRID = 32  # pixels a side; lines would hide smaller cells
_FEWEST = 5  # columns, for the title and the legend to fit


class Panel(NamedTuple):
    """What the pixel at row and column `size // 2` reads, and what an ordering has visited by then; both include it."""

    title: str
    read: Bool[np.ndarray, 'size size']
    past: Bool[np.ndarray, 'size size']


class Strip(NamedTuple):
    """Panels side by side and what they have in common."""

    name: str
    panels: Sequence[Panel]


def receptive_fields(rows: Sequence[Strip], title: str) -> Figure:
    """Rows of receptive fields above a legend; rows may differ in length."""
    figure, axes = _grid([len(row.panels) for row in rows], title, below=0.3)
    for row, of_row in zip(rows, axes, strict=True):
        of_row[0].set_ylabel(row.name, fontsize=9, labelpad=8)
        for panel, of_panel in zip(row.panels, of_row, strict=True):
            _draw_field(of_panel, panel)
    handles = [Patch(facecolor=colour, edgecolor=_GRID, label=meaning) for meaning, colour in _MEANINGS.items()]
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), frameon=False, fontsize=9)
    return figure


def scans(rows: Sequence[tuple[str, Sequence[tuple[str, Int[np.ndarray, 'size size']]]]], title: str) -> Figure:
    """Rows of titled ranks: each pixel is darker the later it is visited, and a line follows the visits from a dot on."""
    figure, axes = _grid([len(ranks) for _, ranks in rows], title)
    for (name, ranks), of_row in zip(rows, axes, strict=True):
        of_row[0].set_ylabel(name, fontsize=9, labelpad=8)
        for (panel_title, rank), of_panel in zip(ranks, of_row, strict=True):
            _draw_scan(of_panel, panel_title, rank)
    return figure


def _grid(columns: Sequence[int], title: str, below: float = 0.0) -> tuple[Figure, list[list[Axes]]]:
    """A figure with `columns[i]` empty panels in row i, and room for `below` inches under them."""
    most = max(*columns, _FEWEST)
    size = (_PANEL * most + 0.7, (_PANEL + 0.3) * len(columns) + 0.4 + below)
    figure = Figure(figsize=size, dpi=100, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    figure.suptitle(title, fontsize=12)
    grid = figure.add_gridspec(len(columns), most)
    axes = [[figure.add_subplot(grid[row, column]) for column in range(count)] for row, count in enumerate(columns)]
    for panel in (panel for of_row in axes for panel in of_row):
        panel.set(xticks=[], yticks=[], aspect='equal')
        for spine in panel.spines.values():
            spine.set_color(_GRID)
    return figure, axes


def _draw_field(axes: Axes, panel: Panel):
    size = len(panel.read)
    codes = np.where(panel.read, 2, np.where(panel.past, 1, 0))
    grid = _GRID if size <= _LARGEST_WITH_GRID else 'none'
    axes.pcolormesh(codes, cmap=ListedColormap([_LATER, _UNREAD, _READ]), vmin=0, vmax=2, edgecolors=grid, linewidth=0.4)
    axes.add_patch(Rectangle((size // 2, size // 2), 1, 1, facecolor=_TARGET, edgecolor='none'))
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_title(panel.title, fontsize=9, pad=4)


def _draw_scan(axes: Axes, title: str, rank: Int[np.ndarray, 'size size']):
    size = len(rank)
    axes.pcolormesh(rank, cmap='Blues', vmin=-0.1 * rank.max(), vmax=1.5 * rank.max(), edgecolors='white', linewidth=0.8)
    rows, columns = np.divmod(np.argsort(rank, axis=None), size)
    x, y = columns + 0.5, rows + 0.5
    axes.plot(x, y, color=_TARGET, linewidth=0.7, alpha=0.35)
    jumps = np.maximum(abs(np.diff(rows)), abs(np.diff(columns))) > 1  # back to the start of the next row
    for part in np.split(np.arange(len(x)), np.flatnonzero(jumps) + 1):
        axes.plot(x[part], y[part], color=_TARGET, linewidth=1.4)
    axes.plot(x[0], y[0], 'o', color=_TARGET, markersize=5)
    axes.annotate(
        '', (x[-1], y[-1]), (x[-2], y[-2]), arrowprops={'arrowstyle': '-|>', 'color': _TARGET, 'shrinkA': 0, 'shrinkB': 0}
    )
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_title(title, fontsize=9, pad=4)
