"""What a run leaves in its directory.

config.json           the config, checked when the run is resumed
data.json             channels and scale of the images, names and colours of the classes
checkpoints/<step>/   state and place in the data (Orbax)
evaluations/<step>.json  scores with their protocols, and the class of each cluster
pictures/<step>.png   images, labels and predictions
metrics.jsonl, tensorboard/   what was logged
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ar_seg_jax.classes import Class

# What may differ between the start of a run and its resumption: cadences, length, and what is done with the result.
_FREE = (
    'steps',
    'epochs',
    'log_every',
    'evaluate_every',
    'checkpoint_every',
    'keep_checkpoints',
    'evaluation',
    'pipeline.read_threads',
)


def checkpoints(workdir: Path) -> Path:
    return workdir / 'checkpoints'


def evaluation(workdir: Path, step: int) -> Path:
    return workdir / 'evaluations' / f'{step:06d}.json'


def picture(workdir: Path, step: int) -> Path:
    return workdir / 'pictures' / f'{step:06d}.png'


def write_json(path: Path, content: Any):
    """Writes beside the file and renames, so that no half file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix('.partial')
    beside.write_text(json.dumps(content, indent=1))
    beside.replace(path)


def keep_config(workdir: Path, config: Mapping[str, Any]):
    """Saves the config of a new run; ValueError naming the keys if the run began with another one."""
    path = workdir / 'config.json'
    config = json.loads(json.dumps(config))  # tuples become lists, as they do in the file
    if path.exists():
        began = _flat(json.loads(path.read_text()))
        now = _flat(config)
        differing = [
            f'{key} was {began.get(key)!r}, is {now.get(key)!r}'
            for key in sorted(began.keys() | now.keys())
            if began.get(key) != now.get(key) and not any(key == free or key.startswith(f'{free}.') for free in _FREE)
        ]
        if differing:
            raise ValueError(
                f'{workdir} holds a run with another config: {"; ".join(differing)}. '
                'Use another --workdir, or the config that the run began with'
            )
    write_json(path, config)


def load_config(workdir: Path) -> dict[str, Any]:
    return _load(workdir / 'config.json')


def keep_data(workdir: Path, channels: int, rescale: float, classes: tuple[Class, ...]):
    classes = [entry._asdict() for entry in classes]
    write_json(workdir / 'data.json', {'channels': channels, 'rescale': rescale, 'classes': classes})


def load_input(workdir: Path) -> tuple[int, float]:
    """Channels of the images that the run was trained on, and their size relative to the raw ones."""
    data = _load(workdir / 'data.json')
    return data['channels'], data['rescale']


def load_cluster_classes(workdir: Path, step: int) -> tuple[list[int], tuple[Class, ...]] | None:
    """Class of each cluster (-1: none) and the classes, as the evaluation of a step saved them; None without one."""
    path = evaluation(workdir, step)
    if not path.exists():
        return None
    saved = _load(path)['clusters']
    return saved['mapping'], tuple(Class(entry['name'], tuple(entry['colour'])) for entry in saved['classes'])


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such file; --workdir should be the directory of a run of python -m ar_seg_jax.main')
    return json.loads(path.read_text())


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f'{prefix}{key}.') if isinstance(value, Mapping) else {f'{prefix}{key}': value}
    return flat
