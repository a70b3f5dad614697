"""How far a sweep has come, read from what its runs left.

config.json                   the base config, checked when the sweep goes on
lock                          held while a sweep lives; says which
runs/<slug>/<seed>/           a run, as python -m ar_seg_jax.main leaves it; the slug names the config and overrides of its rows
runs/<slug>/<seed>.log        what its commands said
runs/<slug>/<seed>.done.json  once it is finished: with which config, at which step
tables/<name>.{md,csv,png}    the tables
"""

import contextlib
import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ar_seg_jax import files
from ar_seg_jax.errors import UserError
from ar_seg_jax.runs import older, workdir
from ar_seg_jax.sweeping.plan import Key, Training
from ar_seg_jax.sweeping.tables import INSTANCES, SEGMENTATION
from ar_seg_jax.training import records

# Keys that do not change a score, only which there are.
_CHOSEN = ('evaluators.segmentation.protocols', 'evaluators.segmentation.baselines', 'evaluators.probes.names',
           'evaluators.instances.baselines', 'evaluation.pictures', 'evaluation.batch_size')  # fmt: skip


class Cost(NamedTuple):
    """Of a run; None stands for what its records do not tell.

    seconds: of all training steps and their compilation. step_seconds: mean of those after the first record. peak_bytes: see
    `training.memory`.
    """

    seconds: float
    step_seconds: float | None
    peak_bytes: float | None


def directory_of(sweep: Path, key: Key) -> Path:
    return sweep / 'runs' / key[0] / str(key[1])


def log_of(sweep: Path, key: Key) -> Path:
    return sweep / 'runs' / key[0] / f'{key[1]}.log'


def table(sweep: Path, name: str, suffix: str) -> Path:
    return sweep / 'tables' / f'{name}.{suffix}'


def wanted(training: Training) -> dict[str, Any]:
    """The config that the run should have had, as JSON has it, without what is chosen for each table."""
    content = copy.deepcopy(workdir.plain(training.base.config))
    for name, value in (*training.overrides.items(), ('seed', training.seed)):
        _place(content, name)[name.rpartition('.')[2]] = value
    for name in _CHOSEN:
        _place(content, name).pop(name.rpartition('.')[2], None)
    return workdir.plain(content)


def finished(sweep: Path, training: Training) -> bool:
    """Whether the run was trained to its end with this config and its evaluation holds all that is wanted.

    Keys that are younger than the sweep count as they were before.
    """
    config = read(_done(sweep, training.key)).get('config')
    same = config is not None and older.completed(config) == older.completed(wanted(training))
    return same and not lacking(evaluation(sweep, training.key), training)


def evaluation(sweep: Path, key: Key, untrained: bool = False) -> dict[str, Any]:
    """The evaluation of the last step of a finished run, or of its network before training; empty if there is none."""
    step = 0 if untrained else read(_done(sweep, key)).get('step')
    return {} if step is None else read(workdir.evaluation(directory_of(sweep, key), step))


def finish(sweep: Path, training: Training):
    """Notes that the run is finished; UserError if it left no scores, as without labels."""
    directory, config = directory_of(sweep, training.key), wanted(training)
    paths = [path for path in (directory / 'evaluations').glob('*.json') if path.stem.isdecimal() and int(path.stem)]
    found = [int(path.stem) for path in paths if any(_held(read(path)))]
    if not found:
        raise UserError(f'{directory} holds no scores; a table needs data with labels')
    if 0 < config['steps'] < max(found):
        raise UserError(f'{directory} was trained to step {max(found)}, beyond {config["steps"]}; use another --workdir')
    files.write_json(_done(sweep, training.key), {'config': config, 'step': max(found)})


def lacking(content: Mapping[str, Any], training: Training) -> list[str]:
    """What is wanted of the evaluation of the last step and not in it."""
    protocols, probes, methods = _held(content)
    return [
        *(text for text in training.protocols if text not in protocols),
        *(text for text in training.probes if text not in probes),
        *(text for text in training.methods if text not in methods),
    ]


def keeping(content: Mapping[str, Any], training: Training) -> Training:
    """The training, wanting also the protocols and probes that an earlier table wanted: a new evaluation replaces the old."""
    protocols, probes, _ = _held(content)
    return dataclasses.replace(
        training,
        protocols=tuple(dict.fromkeys((*training.protocols, *protocols))),
        probes=tuple(dict.fromkeys((*training.probes, *probes))),
    )


def results(content: Mapping[str, Any], evaluator: str) -> list[dict[str, Any]]:
    """What an evaluator found, the run's own first."""
    return content.get(evaluator, {}).get('results', [])


def own(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of the run itself, which come first, under each protocol."""
    return [entry for entry in found if entry['name'] == found[0]['name']]


def journal(sweep: Path, key: Key) -> list[dict[str, Any]]:
    """What a run logged; UserError for records that are damaged."""
    return records.read(workdir.metrics(directory_of(sweep, key)))


def cost(sweep: Path, key: Key) -> Cost:
    """What training took, without evaluations and saves; UserError for records that are damaged."""
    batch_size = workdir.load_config(directory_of(sweep, key))['pipeline']['batch_size']
    found = [record for record in journal(sweep, key) if record['kind'] == 'training' and record['images_per_second']]
    steps = np.array([record['step'] for record in found])
    seconds = np.diff(steps, prepend=0) * batch_size / np.array([record['images_per_second'] for record in found])
    peaks = [record['peak_bytes'] for record in found if 'peak_bytes' in record]
    return Cost(
        float(seconds.sum()),
        float(seconds[1:].sum() / (steps[-1] - steps[0])) if len(steps) > 1 else None,
        max(peaks, default=None),
    )


def read(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file or it is something else, so that it is made again."""
    with contextlib.suppress(FileNotFoundError, UserError):
        return files.read_json(path)
    return {}


def _done(sweep: Path, key: Key) -> Path:
    return sweep / 'runs' / key[0] / f'{key[1]}.done.json'


def _place(content: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of a config in which the last part of 'part.key' is found."""
    for part in name.split('.')[:-1]:
        content = content.setdefault(part, {})
    return content


def _held(content: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    segmentations = results(content, SEGMENTATION) or results(content, INSTANCES)
    protocols = [entry['protocol'] for entry in own(segmentations)]
    probes = [entry['name'] for entry in results(content, 'probes')]
    return protocols, probes, [entry['name'] for entry in segmentations]
