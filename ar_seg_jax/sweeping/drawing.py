"""A table as a picture: our means with their standard deviations, and the paper's numbers beside them."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ar_seg_jax.sweeping.collect import Line, spread
from ar_seg_jax.sweeping.summary import WORDS
from ar_seg_jax.sweeping.tables import Table

_OURS, _PAPER = '#1f6fb4', '#d95f02'


def png(table: Table, lines: Sequence[Line], column: str | None) -> bytes:
    """A panel for each measure and a place for each row; what there is not, is left out. `column`: the paper's data set."""
    figure = Figure(figsize=(2.5 + 3.5 * len(table.measures), 1.6 + 0.45 * len(lines)), layout='constrained', dpi=120)
    panels = figure.subplots(1, len(table.measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, table.measures, strict=True):
        _draw(axes, lines, measure, table.scores[0], column)
        score = WORDS.get(table.scores[0], table.scores[0])
        axes.set_xlabel(f'{measure}: {score}, %' if len(table.measures) > 1 else f'{score}, %')
    panels[0].set_yticks(range(len(lines)), [line.row.name for line in lines])
    panels[0].invert_yaxis()
    figure.suptitle(table.title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower right', ncols=2, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format='png')
    return content.getvalue()


def _draw(axes: Axes, lines: Sequence[Line], measure: str, score: str, column: str | None):
    ours = [(place, spread([found.values[score] for found in line.scores[measure]])) for place, line in enumerate(lines)]
    ours = [(place, 100 * found.mean, 100 * (found.deviation or 0)) for place, found in ours if found.count]
    paper = [(place, line.row.reference(measure, column)) for place, line in enumerate(lines)]
    paper = [(place, value[0], value[1] or 0) for place, value in paper if value is not None]
    for points, shift, colour, marker, label in (
        (ours, -0.12, _OURS, 'o', 'ours, mean ± standard deviation'),
        (paper, 0.12, _PAPER, 'D', "the paper's"),
    ):
        if points:
            places, means, deviations = zip(*points, strict=True)
            shifted = [place + shift for place in places]
            axes.errorbar(means, shifted, xerr=deviations, fmt=marker, color=colour, capsize=3, markersize=5, label=label)
    axes.grid(axis='x', alpha=0.3)
    axes.set_ylim(-0.6, len(lines) - 0.4)
