"""A table from its beginning to its files."""

import logging
from collections.abc import Sequence

from ar_seg_jax import files
from ar_seg_jax.sweeping import collect, places, plan, plot, runner, summary
from ar_seg_jax.sweeping.runner import Outcomes, Sweep
from ar_seg_jax.sweeping.tables import Table, column

_logger = logging.getLogger(__name__)


def make(table: Table, sweep: Sweep, seeds: Sequence[int], jobs: int) -> tuple[bool, bool]:
    """Runs what is missing and writes the table, after each run as far as it is; whether it is complete, and whether rows failed.

    Raises ValueError for a config without protocols.
    """
    runs = plan.runs(table, sweep.config, seeds)
    _logger.info('%s: %d runs below %s', table.name, len(runs), sweep.directory / 'runs')
    outcomes, complete = runner.run_all(sweep, runs, jobs, lambda found: _write(table, sweep, seeds, found))
    text, failed = _write(table, sweep, seeds, outcomes)
    print(text)
    print(f'Table: {places.table(sweep.directory, table.name, "md")}')
    return complete, failed


def _write(table: Table, sweep: Sweep, seeds: Sequence[int], outcomes: Outcomes) -> tuple[str, bool]:
    """Writes the three files; the Markdown, and whether rows failed."""
    lines = collect.lines(table, sweep, seeds, outcomes)
    text = summary.markdown(table, sweep, seeds, lines)
    files.write(places.table(sweep.directory, table.name, 'md'), text.encode())
    files.write(places.table(sweep.directory, table.name, 'csv'), summary.as_csv(table, sweep, lines).encode())
    files.write(places.table(sweep.directory, table.name, 'png'), plot.png(table, lines, column(sweep.config)))
    return text, any(line.failures for line in lines)
