"""How far a run of a sweep has come, read from what it left."""

import copy
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ar_seg_jax import records, workdir
from ar_seg_jax.sweeping import places
from ar_seg_jax.sweeping.plan import Config, Key, Run

_CHOSEN = ('protocols', 'probes', 'baselines', 'pictures', 'batch_size')  # keys of evaluation that do not change a score


def wanted(run: Run, config: Config) -> dict[str, Any]:
    """The config that the run should have had, as JSON has it; of `evaluation` only what changes scores, not which there are."""
    content = copy.deepcopy(dict(config))
    content['evaluation'] = {name: value for name, value in config['evaluation'].items() if name not in _CHOSEN}
    for name, value in (*run.overrides.items(), ('seed', run.seed)):
        *parts, last = name.split('.')
        place = content
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return workdir.plain(content)


def finished(sweep: Path, run: Run, config: Config) -> bool:
    """Whether the run was trained to its end with this config and its evaluation holds all that is wanted."""
    done = read(places.done(sweep, run.key))
    return done.get('config') == wanted(run, config) and not lacking(evaluation(sweep, run.key), run)


def evaluation(sweep: Path, key: Key, untrained: bool = False) -> dict[str, Any]:
    """The evaluation of the last step of a finished run, or of its network before training; empty if there is none."""
    step = 0 if untrained else read(places.done(sweep, key)).get('step')
    return {} if step is None else read(workdir.evaluation(places.run(sweep, key), step))


def finish(sweep: Path, run: Run, config: Config):
    """Notes that the run is finished; ValueError if it left no evaluation, as without labels."""
    directory = places.run(sweep, run.key)
    steps = [int(path.stem) for path in (directory / 'evaluations').glob('*.json') if path.stem.isdecimal() and int(path.stem)]
    if not steps:
        raise ValueError(f'{directory} holds no scores; a table needs data with labels')
    if config['steps'] and max(steps) > config['steps']:
        raise ValueError(f'{directory} was trained to step {max(steps)}, beyond {config["steps"]}; use another --workdir')
    workdir.write_json(places.done(sweep, run.key), {'config': wanted(run, config), 'step': max(steps)})


def lacking(content: Mapping[str, Any], run: Run) -> list[str]:
    """What is wanted of the evaluation of the last step and not in it."""
    protocols, probes, methods = _held(content)
    return [
        *(text for text in run.protocols if text not in protocols),
        *(text for text in run.probes if text not in probes),
        *(text for text in run.methods if text not in methods),
    ]


def keeping(content: Mapping[str, Any], run: Run) -> Run:
    """The run, wanting also the protocols and probes that an earlier table wanted: a new evaluation replaces the old one."""
    protocols, probes, _ = _held(content)
    return dataclasses.replace(
        run, protocols=tuple(dict.fromkeys((*run.protocols, *protocols))), probes=tuple(dict.fromkeys((*run.probes, *probes)))
    )


def own(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of the run itself, which come first, under each protocol."""
    results = content.get('results', [])
    return [entry for entry in results if entry['method'] == results[0]['method']]


def short(protocol: Mapping[str, str]) -> str:
    """As configs write a protocol."""
    return f'{protocol["matching"]}:{protocol["matched_on"]}:{protocol["scored_on"]}'


def training_seconds(sweep: Path, key: Key) -> float:
    """Time of the training steps, without evaluations and saves; ValueError for records that are damaged."""
    directory = places.run(sweep, key)
    batch_size = workdir.load_config(directory)['pipeline']['batch_size']
    seconds, before = 0.0, 0
    for record in records.read(directory / 'metrics.jsonl'):
        if record['kind'] == 'training' and record['images_per_second']:
            seconds += (record['step'] - before) * batch_size / record['images_per_second']
            before = record['step']
    return seconds


def read(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is no such file or it is something else, so that it is made again."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _held(content: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    protocols = [short(entry['protocol']) for entry in own(content)]
    probes = [entry['probe'] for entry in content.get('probes', [])]
    return protocols, probes, [entry['method'] for entry in content.get('results', [])]
