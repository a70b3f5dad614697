"""From what the runs of a table left to its numbers."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy.special import stdtrit

from ar_seg_jax.errors import UserError
from ar_seg_jax.sweeping import state
from ar_seg_jax.sweeping.plan import Key, Sweep, key, protocol
from ar_seg_jax.sweeping.runner import Outcomes
from ar_seg_jax.sweeping.state import Cost
from ar_seg_jax.sweeping.tables import INSTANCES, SEGMENTATION, Row, Table


class Spread(NamedTuple):
    """Mean and sample standard deviation of `count` values; None for what so few values do not have."""

    mean: float | None
    deviation: float | None
    count: int


class Difference(NamedTuple):
    """Mean of `count` paired differences, and half the width of its 95 % confidence interval (Student's t), None for one."""

    mean: float | None
    half_width: float | None
    count: int


@dataclasses.dataclass(frozen=True)
class Score:
    """What one run says about one measure: shares of pixels by name of the score, 0 to 1, and how they were found.

    protocol: in words; short: as the config has it, of segmentations.
    """

    values: Mapping[str, float]
    seed: int
    protocol: str
    step: int
    device: str
    short: str = ''


@dataclasses.dataclass(frozen=True)
class Line:
    """A row with its scores by measure, one for each seed that has them.

    costs: of training, for each run; empty for what was not trained. failures: a sentence for each run that failed.
    waiting: number of seeds whose run is still to come.
    """

    row: Row
    scores: Mapping[str, Sequence[Score]]
    costs: Sequence[Cost] = ()
    failures: Sequence[str] = ()
    waiting: int = 0


def spread(values: Sequence[float]) -> Spread:
    mean = statistics.fmean(values) if values else None
    return Spread(mean, statistics.stdev(values) if len(values) > 1 else None, len(values))


def mean_cost(costs: Sequence[Cost]) -> Cost | None:
    """The means over runs, of what the records of all of them tell; None of no runs."""
    return Cost(*(None if None in values else statistics.fmean(values) for values in zip(*costs, strict=True))) if costs else None


def difference(scores: Sequence[Score], standard: Sequence[Score], name: str) -> Difference:
    """Of a score of two rows, over the seeds that both have."""
    others = {score.seed: score.values[name] for score in standard}
    found = spread([score.values[name] - others[score.seed] for score in scores if score.seed in others])
    if found.count < 2:
        return Difference(found.mean, None, found.count)
    quantile = float(stdtrit(found.count - 1, 0.975))
    return Difference(found.mean, quantile * found.deviation / found.count**0.5, found.count)


def lines(table: Table, sweep: Sweep, seeds: Sequence[int], outcomes: Outcomes) -> list[Line]:
    """The rows of a table as far as they are there."""
    return [_line(row, table, sweep, seeds, outcomes) for row in table.rows]


def _line(row: Row, table: Table, sweep: Sweep, seeds: Sequence[int], outcomes: Outcomes) -> Line:
    scores: dict[str, list[Score]] = {measure: [] for measure in table.measures}
    if row.kind == 'no config':
        return Line(row, scores)
    base = sweep.of(row)
    keys = [key(row, base, seed) for seed in seeds]
    costs, failures = [], []
    for found in keys:
        if found not in outcomes:
            continue
        if reason := outcomes[found].untrained if row.kind == 'untrained' else outcomes[found].trained:
            failures.append(f'seed {found[1]}: {reason}')
            continue
        content = state.evaluation(sweep.directory, found, row.kind == 'untrained')
        best = table.selection == 'best_on_scored_labels' and row.kind == 'trained'
        for measure in table.measures:
            try:
                score = _score(content, found[1], row, measure, protocol(row, base.config), table.scores)
                scores[measure].append(_best(score, sweep.directory, found) if best and measure == SEGMENTATION else score)
            except ValueError as error:
                failures.append(f'seed {found[1]}: {error}')
        if row.kind == 'trained':
            try:
                costs.append(state.cost(sweep.directory, found))
            except ValueError as error:
                failures.append(f'seed {found[1]}: {error}')
    return Line(row, scores, costs, failures, sum(found not in outcomes for found in keys))


def _score(content: Mapping[str, Any], seed: int, row: Row, measure: str, wanted: str, names: Sequence[str]) -> Score:
    """UserError if the evaluation does not hold it."""
    evaluator, _, name = measure.partition('/')
    found = state.results(content, evaluator)
    if measure in (SEGMENTATION, INSTANCES):
        found = [entry for entry in found if entry['name'] == row.method] if row.method else state.own(found)
        found = [entry for entry in found if entry['protocol'] == wanted]
    else:
        found = [entry for entry in found if entry['name'] == name]
    if not found:
        raise UserError(f'the evaluation of step {content.get("step")} has no {row.method or measure} score ({wanted})')
    if lacking := [name for name in names if name not in found[0]['scores']]:
        raise UserError(f'the evaluation of step {content.get("step")} has no {", ".join(lacking)} among its {measure} scores')
    device = content.get('device', 'not recorded')
    return Score(found[0]['scores'], seed, found[0]['in_words'], content['step'], device, found[0].get('protocol', ''))


def _best(last: Score, directory: Path, run: Key) -> Score:
    """The highest score of a run, by accuracy, of all steps that were evaluated during training under the same protocol."""
    names = {name: f'{last.short}/{name}' for name in last.values}
    scored = [record for record in state.journal(directory, run) if names['accuracy'] in record]
    if not scored:
        raise UserError(
            f'no step was scored during training as {last.short}; set --config.evaluate_every to the steps of an epoch'
        )
    best = max(scored, key=lambda record: record[names['accuracy']])
    values = {name: best[key] for name, key in names.items() if key in best}
    words = f'{last.protocol}; the best of {len(scored)} evaluated steps by just these labels: no held-out score'
    return dataclasses.replace(last, values=values, protocol=words, step=best['step'])
