"""What the rows of a table see: of each, the best, median and worst image that it labels, below one another."""

from pathlib import Path

from ar_seg_jax.drawing import label_maps, panels
from ar_seg_jax.drawing.panels import Compared
from ar_seg_jax.runs import pictures, run, workdir
from ar_seg_jax.runs.run import Run
from ar_seg_jax.sweeping import state
from ar_seg_jax.sweeping.plan import Sweep, key
from ar_seg_jax.sweeping.runner import Outcomes
from ar_seg_jax.sweeping.tables import Table


def side_by_side(table: Table, sweep: Sweep, seed: int, outcomes: Outcomes) -> bytes | None:
    """A PNG file: for each row that was trained with a seed, and predicts classes, the images of best, median and worst accuracy,
    with their labels and what was made of them; None where there is no such row.

    Each row has its own three, of up to 100 images that are evenly spread over the split that is scored, and clusters are matched
    with classes under the first protocol of the run.
    """
    rows, classes = {}, ()
    for row in table.rows:
        if row.kind != 'trained':
            continue
        found = key(row, sweep.of(row), seed)
        if found in outcomes and not outcomes[found].trained:
            opened = _open(state.directory_of(sweep.directory, found))
            if compared := _ranked(opened):
                rows[row.name], classes = compared, opened.reporter.data.classes
    caption = (
        f'{table.title}, seed {seed}: the best, median and worst image of each row by its own accuracy; image, labels, prediction'
    )
    return label_maps.png(panels.strips(rows, classes, caption)) if rows else None


def _open(directory: Path) -> Run:
    return run.open_run(workdir.load_config(directory), directory, training=False)


def _ranked(opened: Run) -> list[Compared]:
    """Empty for what predicts no classes."""
    reporter = opened.reporter
    if not reporter.data.classes:
        return []
    found = reporter.evaluators['segmentation'].follow(run.evaluated(opened, None), reporter.data.evaluation)
    examples = pictures.spread(reporter.data.examples(reporter.split), pictures.RANKED)
    return pictures.ranked(examples, found.columns[0], reporter.data.instances, 1)
