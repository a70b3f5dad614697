"""What a run leaves in its directory.

config.json           the config, checked when the run is resumed
versions.json         of this program and of what it is built on, when it was last trained
data.json             form of the images, names, colours and groups of the classes, which prepared data it was, and the mean and
   deviation of the training images where the model wants them
checkpoints/<step>/   the model, the rest of the state (Orbax), checksums of both
damaged/<step>/       checkpoints that were found damaged, for whoever wants to look
evaluations/<step>.json  what each evaluator found: scores with their protocols, the class of each cluster
pictures/<step>.png   images, labels and predictions, and of methods that find objects background and reconstruction
pictures/<step>-panel.png      the best, median and worst of the scored images, with the predictions of probes
pictures/<step>-confusion.png  clusters against classes
pictures/curves.png            the objective and scores over the steps
   where another split than that of the run is evaluated, <step> is <step>-<split>
evaluations/<step>-on-<folder>-<split>-<fit or saved>.json  scores on another folder of images
compilation.json      what it took to compile the program of a step, told before the next time
names.json            what a person calls the clusters, if anybody does, see `naming`
report.html           a page with all of that, of the last step, see `reporting`
metrics.jsonl, tensorboard/   what was logged, pictures and traces
lock                  held while a run lives; says which
"""

import dataclasses
import json
import math
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ar_seg_jax import configuration, files
from ar_seg_jax.data import classes
from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.form import Form
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Normalisation, Size
from ar_seg_jax.runs import older
from ar_seg_jax.training import optimizer, versions

FORMAT = 2  # of all that is in the directory; another one cannot be read

# What may differ between the start of a run and its resumption: cadences, length, where things are kept, what trades time for
# memory, how many processes load data, and what is done with the result.
FREE = (
    'steps',
    'epochs',
    'log_every',
    'evaluate_every',
    'checkpoint_every',
    'save_seconds',
    'keep_checkpoints',
    'keep_every',
    'stop_after_skipped',
    'compilation_cache',
    'profile',
    'data.data_dir',
    'evaluation',
    'evaluators',
    'model.remat',
    'optimizer.shard_state',
    'pipeline.read_threads',
    'pipeline.workers',
)
# Of what every config has, whatever its parts name.
_TYPES = {
    **dict.fromkeys(('seed', 'steps', 'log_every', 'evaluate_every', 'checkpoint_every', 'keep_checkpoints', 'keep_every'), int),
    'epochs': float,
    'stop_after_skipped': int,
    'save_seconds': float,
    'compilation_cache': str,
    'profile': str,
    'frozen': Sequence[str],
    'initial_weights': Mapping,
    'data': {'name': str, 'data_dir': str, 'train_split': str},
    'pipeline': {
        **dict.fromkeys(('batch_size', 'read_threads', 'workers', 'micro_batches'), int),
        'crop_size': Size,
        'mask_void': bool,
    },
    'model': {'name': str},
    'method': {'name': str},
    'optimizer': {'name': str, 'learning_rate': float, 'schedule': {'name': str}},
    'evaluation': {'split': str, 'crop_size': Size, 'batch_size': int, 'pictures': int},
    'evaluators': Mapping[str, Mapping],
}
_LENGTH = ('steps', 'epochs')
_MEASURED = 'normalisation'  # in data.json
_PARTS = (
    'checkpoints',
    'compilation.json',
    'config.json',
    'damaged',
    'data.json',
    'evaluations',
    'lock',
    'metrics.jsonl',
    'pictures',
    'report.html',
    'tensorboard',
    'versions.json',
)


def checkpoints(workdir: Path) -> Path:
    return workdir / 'checkpoints'


def holds_state(workdir: Path) -> bool:
    """Whether a training has saved a state there, from which the next one goes on."""
    return any(path.name.isdecimal() for path in checkpoints(workdir).glob('*'))


def evaluation(workdir: Path, step: int, *parts: str) -> Path:
    return workdir / 'evaluations' / f'{_joined(step, parts)}.json'


def picture(workdir: Path, step: int, *parts: str) -> Path:
    return workdir / 'pictures' / f'{_joined(step, parts)}.png'


def _joined(step: int, parts: Sequence[str]) -> str:
    return '-'.join([f'{step:06d}', *filter(None, parts)])


def curves(workdir: Path) -> Path:
    return workdir / 'pictures' / 'curves.png'


def report(workdir: Path) -> Path:
    return workdir / 'report.html'


def names(workdir: Path) -> Path:
    return workdir / 'names.json'


def metrics(workdir: Path) -> Path:
    return workdir / 'metrics.jsonl'


def lock(workdir: Path) -> Path:
    return workdir / 'lock'


def claim(workdir: Path) -> IO[str]:
    """Makes the directory and locks it; UserError if another run has it. The lock ends with the process or the file's closing."""
    path = lock(workdir)
    try:
        file = files.lock(path, wait=False)
    except BlockingIOError as error:
        owner = path.read_text().strip() or 'another process'
        raise UserError(f'{workdir} is in use by {owner}; wait for it to end, or use another --workdir') from error
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    file.flush()
    return file


def is_foreign(workdir: Path) -> bool:
    """Whether somebody else than this user owns the run, or its config, which names files that would be read."""
    places = [path for path in (workdir, workdir / 'config.json') if path.exists()]
    return any(path.stat().st_uid != os.geteuid() for path in places)


def check_inside(workdir: Path):
    """UserError if the run's directory is a file, or a part of it a symbolic link to somewhere else, where results would go."""
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f'{workdir} is a file; --workdir is the directory of a run, which is made if there is none')
    for part in _PARTS:
        target = Path(os.path.realpath(workdir / part))  # unlike Path.resolve this bears loops of links
        if not target.is_relative_to(workdir.resolve()):
            raise UserError(
                f'{workdir / part} is a link to {target}, outside of the run; nothing is written there. Make the whole run a '
                'link, or remove this one'
            )


def check_types(config: Mapping[str, Any], place: str = 'config'):
    """UserError, about `place`, for what every config has and this one has not, or has with values of another type."""
    configuration.check_types(config, _TYPES, place)


def check_config(workdir: Path, config: Mapping[str, Any], binds: bool = True):
    """UserError for what cannot be read of the run, or the sweep, in `workdir`, and, if it `binds`, naming the keys in which its
    config is another one; those in FREE may differ."""
    if not (workdir / 'config.json').exists():
        return
    began = load_config(workdir)
    if not binds:
        return
    found = configuration.differences(began, plain(config))
    free = [key for key in FREE if key not in _LENGTH or not _follows_length(config)]
    differing = [entry for entry in found if not any(entry[0] == key or entry[0].startswith(f'{key}.') for key in free)]
    if differing:
        raise UserError(
            f'{workdir} holds a run with another config: {configuration.in_words(differing, "that run", "this one")}. '
            'Use another --workdir, or the config that the run began with'
        )


def _follows_length(config: Mapping[str, Any]) -> bool:
    """Whether the learning rate of every step depends on how many there will be."""
    return config.get('optimizer', {}).get('schedule', {}).get('name') in optimizer.FOLLOW_LENGTH


def save_config(workdir: Path, config: Mapping[str, Any]):
    files.write_json(workdir / 'versions.json', {'format': FORMAT, **versions.installed()})
    files.write_json(workdir / 'config.json', plain(config))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it comes back from its file: tuples are lists."""
    return json.loads(json.dumps(config))


def load_config(workdir: Path) -> dict[str, Any]:
    """The config of a run, with the keys of today; UserError if a version of the program wrote it that this one cannot read."""
    place = workdir / 'config.json'
    config = _load(place)
    path = workdir / 'versions.json'
    written = _load(path, 'format') if path.exists() else {'format': 1, 'ar_seg_jax': '0.1.0'}
    if written['format'] != FORMAT:
        raise UserError(
            f'{workdir} holds a run of ar_seg_jax {written.get("ar_seg_jax")}, '
            f'which this version ({versions.installed()["ar_seg_jax"]}) cannot read: '
            'to evaluate it, or predict with it, check that version out; to train, use another --workdir'
        )
    config = older.completed(config)
    check_types(config, str(place))
    return config


def save_data(workdir: Path, form: Form, named: tuple[Class, ...], variant: str, measured: Normalisation | None = None):
    """variant: the name of the prepared data, which changes with the files that it was made of. measured: mean and deviation of
    the training images, where the model wants them."""
    content = {**dataclasses.asdict(form), 'prepared': variant, 'classes': [entry._asdict() for entry in named]}
    files.write_json(workdir / 'data.json', content | ({_MEASURED: measured._asdict()} if measured else {}))


def load_form(workdir: Path) -> Form:
    """What the raw images are like that the run was trained on."""
    path = workdir / 'data.json'
    return Form.from_json(path, _load(path, 'channels', 'rescale'))


def load_normalisation(workdir: Path) -> Normalisation:
    """What was measured of the training images of a run; UserError if that is not there, or is none."""
    path = workdir / 'data.json'
    match _load(path, 'channels', _MEASURED):
        case {'channels': int(channels), 'normalisation': {'mean': [*mean], 'deviation': [*deviation]}}:
            numbers = [*mean, *deviation]
            plain = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
            if plain and len(mean) == len(deviation) == channels and min(deviation) > 0:
                return Normalisation(tuple(map(float, mean)), tuple(map(float, deviation)))
    raise UserError(f'{path}: expected a mean and a deviation above 0 of each channel in {_MEASURED!r}; restore it from a copy')


def used_data(workdir: Path) -> tuple[str, str | None]:
    """The data set of a run, and its variant, the name of what was prepared; None if the run is older than these records."""
    name = _load(workdir / 'config.json', 'data')['data']
    variant = _load(workdir / 'data.json').get('prepared')
    match name:
        case {'name': str(dataset)} if variant is None or isinstance(variant, str):
            return dataset, variant
    raise UserError(f'{workdir}: expected the name of a data set in config.json, and of a variant in data.json; restore them')


def load_cluster_classes(workdir: Path, step: int) -> tuple[list[int], tuple[Class, ...]] | None:
    """Class of each cluster (-1: none) and the classes, as the evaluation of a step saved them; None without one."""
    path = evaluation(workdir, step)
    if not path.exists():
        return None
    match _load(path):
        case {'segmentation': {'clusters': {'mapping': mapping, 'classes': entries}}}:
            found = classes.from_json(path, entries)
            return classes.mapping_from_json(path, mapping, len(found)), found
        case {'segmentation': {'clusters': _}}:
            raise UserError(f'{path}: expected "clusters" with their "mapping" and "classes"; evaluate the step again')
    return None


def _load(path: Path, *keys: str) -> dict[str, Any]:
    try:
        return files.read_json(path, *keys)
    except FileNotFoundError as error:
        raise UserError(
            f'{path}: no such file; --workdir should be the directory of a run of python -m ar_seg_jax.main'
        ) from error
