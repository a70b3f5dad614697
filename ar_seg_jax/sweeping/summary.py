"""A table as Markdown for people and as CSV for programs."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ar_seg_jax.sweeping import plan
from ar_seg_jax.sweeping.collect import Difference, Line, Score, Spread, difference, mean_cost, spread
from ar_seg_jax.sweeping.plan import Sweep
from ar_seg_jax.sweeping.state import Cost
from ar_seg_jax.sweeping.tables import Table, column

_NOTHING = '-'
_COSTS = ('time per run', 'step, s', 'memory, GiB')
_INTERVALS = (
    "Difference: of the {} from that of {} with the same seed, mean and 95 % confidence interval (Student's t). "
    'An interval that contains 0 shows nothing.'
)
# Of scores by name; others are called by their name.
WORDS = {'accuracy': 'accuracy', 'mean_iou': 'mIoU', 'ari_fg': 'ARI-FG', 'msc_fg': 'MSC-FG'}


def markdown(table: Table, sweep: Sweep, seeds: Sequence[int], lines: Sequence[Line]) -> str:
    """All of a table, with what it was made of; scores are in percent, as the paper's."""
    parts = ['', *_heading(table), *(_row(table, sweep, line, lines) for line in lines), '', *_notes(table, seeds, lines)]
    return '\n'.join([f'# {table.title}', '', *_facts(table, sweep, seeds, lines), *parts]).rstrip() + '\n'


def as_csv(table: Table, sweep: Sweep, lines: Sequence[Line]) -> str:
    """A line for each row and measure; scores are in percent, empty cells are what there is not."""
    text = io.StringIO()
    records = [_record(table, sweep, line, measure, lines) for line in lines for measure in table.measures]
    writer = csv.DictWriter(text, records[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def percent(found: Spread) -> str:
    """Such as '66.4 ± 1.2 (n = 3)', from shares."""
    deviation = '' if found.deviation is None else f' ± {100 * found.deviation:.1f}'
    return f'{100 * found.mean:.1f}{deviation} (n = {found.count})'


def duration(seconds: float) -> str:
    """Such as '1:02:03' or '2:03'."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'


def _facts(table: Table, sweep: Sweep, seeds: Sequence[int], lines: Sequence[Line]) -> list[str]:
    config = sweep.base.config
    data, known = config['data'], column(config)
    classes = f', {data["num_classes"]} classes' if 'num_classes' in data else ''
    changed = ', '.join(f'`{name}={value}`' for name, value in sweep.overrides.items())
    scores = [score for line in lines for found in line.scores.values() for score in found]
    return [
        f'- Data: {data["name"]}{classes}; trained on {data["train_split"]!r}',
        f'- Protocol: {_listed(score.protocol for score in scores)}',
        f'- Budget: {_steps(lines)} of {_batches(sweep, lines)} images, seeds {_listed(seeds, ", ")}',
        f'- Device: {_listed(score.device for score in scores)}',
        f'- Config: `{Path(sweep.base.file).name}`{f" with {changed}" if changed else ""}',
        f'- Paper: {table.source}; {known}, one-to-one matching' if known else '- Paper: it has no numbers for this data',
        '',
        'Scores in percent, mean ± sample standard deviation over n seeds; times are those of training, and memory is the most '
        'that a process held (on CPU with its libraries and evaluations); means over runs.',
        *([_INTERVALS.format(WORDS.get(table.scores[0], table.scores[0]), _standards(table))] if table.standards else []),
    ]


def _standards(table: Table) -> str:
    names = ' or '.join(f"'{name}'" for name in table.standards)
    return names if len(table.standards) == 1 else f'{names}, the one of their matching,'


def _heading(table: Table) -> list[str]:
    cells = ['']
    for measure in table.measures:
        prefix = f'{measure}: ' if len(table.measures) > 1 else ''
        first, *others = (WORDS.get(score, score) for score in table.scores)
        compared = [f'{prefix}difference'] if table.standards else []
        cells += [f'{prefix}ours, {first}', *(f'{prefix}{other}' for other in others), *compared, f'{prefix}paper, {first}']
    cells += _COSTS
    return [_cells(cells), _cells(['---'] * len(cells))]


def _row(table: Table, sweep: Sweep, line: Line, lines: Sequence[Line]) -> str:
    cells = [line.row.name]
    for measure in table.measures:
        cells += [
            *_ours(line, line.scores[measure], table.scores),
            *([_interval(_difference(table, line, measure, lines))] if table.standards else []),
            _paper(line.row.reference(measure, column(sweep.base.config))),
        ]
    return _cells([*cells, *_cost(mean_cost(line.costs))])


def _cost(found: Cost | None) -> list[str]:
    """Time of a run, time of a step and memory, in the units of `_COSTS`."""
    if found is None:
        return [_NOTHING] * len(_COSTS)
    return [
        duration(found.seconds),
        _NOTHING if found.step_seconds is None else f'{found.step_seconds:.3g}',
        _NOTHING if found.peak_bytes is None else f'{found.peak_bytes / 2**30:.1f}',
    ]


def _difference(table: Table, line: Line, measure: str, lines: Sequence[Line]) -> Difference | None:
    """From the row that the table compares it with; None for this row, and where there is none."""
    name = table.standard(line.row.matching)
    standard = next((other for other in lines if other.row.name == name), None)
    if standard is None or line is standard:
        return None
    return difference(line.scores[measure], standard.scores[measure], table.scores[0])


def _interval(found: Difference | None) -> str:
    """Such as '-1.3 ± 5.0', from shares."""
    if found is None or found.mean is None:
        return _NOTHING
    return f'{100 * found.mean:+.1f}' + ('' if found.half_width is None else f' ± {100 * found.half_width:.1f}')


def _ours(line: Line, found: Sequence[Score], scores: Sequence[str]) -> list[str]:
    """The scores, or why there are none; a row that is incomplete says so."""
    failed = 'failed' if line.failures else ''
    if not found:
        reason = 'no config' if line.row.kind == 'no config' else failed or 'not yet run'
        return [reason, *[_NOTHING] * (len(scores) - 1)]
    more = f', {len(line.failures)} failed' if failed else f', {line.waiting} not yet run' if line.waiting else ''
    first, *others = (percent(spread([score.values[name] for score in found])) for name in scores)
    return [f'{first}{more}', *(other.partition(' (')[0] for other in others)]


def _paper(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return _NOTHING
    mean, deviation = value
    return str(mean) if deviation is None else f'{mean} ± {deviation}'


def _notes(table: Table, seeds: Sequence[int], lines: Sequence[Line]) -> list[str]:
    subsets = [f'{line.row.name}: {"; ".join(found)}.' for line in lines if (found := plan.choices(line.row, seeds))]
    failures = [f'{line.row.name} failed: {reason}' for line in lines for reason in line.failures]
    return [f'- {note}' for note in (*table.notes, *subsets, *failures)]


def _record(table: Table, sweep: Sweep, line: Line, measure: str, lines: Sequence[Line]) -> dict[str, str | float | int | None]:
    scores, compared = line.scores[measure], _difference(table, line, measure, lines)
    values = {name: [100 * score.values[name] for score in scores] for name in table.scores}
    spreads = {name: spread(found) for name, found in values.items()}
    cost = mean_cost(line.costs)
    paper, paper_std = line.row.reference(measure, column(sweep.base.config)) or (None, None)
    return {
        'table': table.name,
        'row': line.row.name,
        'measure': measure,
        **{
            key: value for name, found in spreads.items() for key, value in ((name, found.mean), (f'{name}_std', found.deviation))
        },
        'difference': 100 * compared.mean if compared and compared.mean is not None else None,
        'difference_95': 100 * compared.half_width if compared and compared.half_width is not None else None,
        'n': len(scores),
        **{f'{name} of each': ' '.join(f'{value:.4f}' for value in found) for name, found in values.items()},
        'paper': paper,
        'paper_std': paper_std,
        'source': table.source if paper is not None else None,
        'steps': _listed((score.step for score in scores), ' ', ''),
        **{name: getattr(cost, name, None) for name in Cost._fields},
        'device': _listed((score.device for score in scores), '; ', ''),
        'protocol': _listed((score.protocol for score in scores), '; ', ''),
        'failed': len(line.failures),
        'waiting': line.waiting,
    }


def _steps(lines: Sequence[Line]) -> str:
    trained = [score.step for line in lines if line.row.kind == 'trained' for found in line.scores.values() for score in found]
    return f'{_listed(sorted(trained), " and ")} steps'


def _batches(sweep: Sweep, lines: Sequence[Line]) -> str:
    sizes = {sweep.of(line.row).config['pipeline']['batch_size'] for line in lines if line.row.kind == 'trained'}
    return _listed(sorted(sizes), ' or ')


def _listed(values: Iterable, separator: str = '; ', nothing: str = 'not yet known') -> str:
    return separator.join(dict.fromkeys(map(str, values))) or nothing


def _cells(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |'
