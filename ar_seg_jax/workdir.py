"""What a run leaves in its directory.

config.json           the config, checked when the run is resumed
data.json             channels and scale of the images, names and colours of the classes
checkpoints/<step>/   the state (Orbax) and checksums of it
damaged/<step>/       checkpoints that were found damaged, for whoever wants to look
evaluations/<step>.json  scores with their protocols, and the class of each cluster
pictures/<step>.png   images, labels and predictions
pictures/<step>-panel.png      the best, median and worst of the scored images, with the predictions of probes
pictures/<step>-confusion.png  clusters against classes
pictures/curves.png            mutual information and scores over the steps
metrics.jsonl, tensorboard/   what was logged, pictures and traces
lock                  held while a run lives; says which
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ar_seg_jax import classes, differences, files
from ar_seg_jax.classes import Class

# What may differ between the start of a run and its resumption: cadences, length, where things are kept, what trades time for
# memory, how many processes load data, and what is done with the result.
FREE = (
    'steps',
    'epochs',
    'log_every',
    'evaluate_every',
    'checkpoint_every',
    'keep_checkpoints',
    'keep_every',
    'stop_after_skipped',
    'compilation_cache',
    'profile',
    'data.data_dir',
    'evaluation',
    'model.remat',
    'pipeline.read_threads',
    'pipeline.workers',
)
_PARTS = ('checkpoints', 'config.json', 'damaged', 'data.json', 'evaluations', 'lock', 'metrics.jsonl', 'pictures', 'tensorboard')


def checkpoints(workdir: Path) -> Path:
    return workdir / 'checkpoints'


def evaluation(workdir: Path, step: int) -> Path:
    return workdir / 'evaluations' / f'{step:06d}.json'


def picture(workdir: Path, step: int, kind: str = '') -> Path:
    return workdir / 'pictures' / f'{step:06d}{kind and "-"}{kind}.png'


def curves(workdir: Path) -> Path:
    return workdir / 'pictures' / 'curves.png'


def claim(workdir: Path) -> IO[str]:
    """Makes the directory and locks it; ValueError if another run has it. The lock ends with the process or the file's closing.

    A process that dies leaves no lock behind, since the operating system holds it, and not the file.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    file = (workdir / 'lock').open('a+')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or 'another process'
        raise ValueError(f'{workdir} is in use by {owner}; wait for it to end, or use another --workdir') from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    return file


def check_inside(workdir: Path):
    """ValueError if a part of the run's directory is a symbolic link to somewhere else, where results would then go."""
    for part in _PARTS:
        target = Path(os.path.realpath(workdir / part))  # unlike Path.resolve this bears loops of links
        if not target.is_relative_to(workdir.resolve()):
            raise ValueError(
                f'{workdir / part} is a link to {target}, outside of the run; nothing is written there. Make the whole run a '
                'link, or remove this one'
            )


def write_json(path: Path, content: Any):
    files.write(path, json.dumps(content, indent=1).encode())


def check_config(workdir: Path, config: Mapping[str, Any]):
    """ValueError naming the keys if the run in `workdir` began with another config; those in FREE may differ."""
    path = workdir / 'config.json'
    if not path.exists():
        return
    found = differences.between(_load(path), plain(config))
    differing = [entry for entry in found if not any(entry[0] == free or entry[0].startswith(f'{free}.') for free in FREE)]
    if differing:
        raise ValueError(
            f'{workdir} holds a run with another config: {differences.words(differing, "that run", "this one")}. '
            'Use another --workdir, or the config that the run began with'
        )


def save_config(workdir: Path, config: Mapping[str, Any]):
    write_json(workdir / 'config.json', plain(config))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it comes back from its file: tuples are lists."""
    return json.loads(json.dumps(config))


def load_config(workdir: Path) -> dict[str, Any]:
    return _load(workdir / 'config.json')


@contextlib.contextmanager
def explained(workdir: Path) -> Iterator[None]:
    """Around what is built from a saved config, which another version or anybody's hand may have written.

    Raises ValueError, which names the file, for what a key that is missing or of a wrong type leads to.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f'{workdir / "config.json"} does not describe a run of this version ({type(error).__name__}: {error}); use the '
            'version that wrote it, or mend it. --verbosity=1 shows where it failed'
        ) from error


def save_data(workdir: Path, channels: int, rescale: float, named: tuple[Class, ...]):
    content = {'channels': channels, 'rescale': rescale, 'classes': [entry._asdict() for entry in named]}
    write_json(workdir / 'data.json', content)


def load_input(workdir: Path) -> tuple[int, float]:
    """Channels of the images that the run was trained on, and their size relative to the raw ones."""
    data = _load(workdir / 'data.json', 'channels', 'rescale')
    return data['channels'], data['rescale']


def load_cluster_classes(workdir: Path, step: int) -> tuple[list[int], tuple[Class, ...]] | None:
    """Class of each cluster (-1: none) and the classes, as the evaluation of a step saved them; None without one."""
    path = evaluation(workdir, step)
    if not path.exists():
        return None
    saved = _load(path, 'clusters')['clusters']
    if not isinstance(saved, dict):
        raise ValueError(f'{path}: expected "clusters" with their "mapping" and "classes"; evaluate the step again')
    found = classes.from_json(path, saved.get('classes'))
    return classes.mapping_from_json(path, saved.get('mapping'), len(found)), found


def _load(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object with at least these keys; ValueError for anything else that is in the file."""
    if not path.is_file():  # nor a pipe, which would be waited for
        raise FileNotFoundError(f'{path}: no such file; --workdir should be the directory of a run of python -m ar_seg_jax.main')
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: not the JSON that was written here ({error}); restore it from a copy') from error
    if not isinstance(content, dict) or not content.keys() >= set(keys):
        raise ValueError(f'{path}: expected an object with {", ".join(keys) or "keys"}; restore it from a copy')
    return content
