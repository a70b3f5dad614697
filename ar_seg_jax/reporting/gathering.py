"""From a run, and what it left in its directory, to the account of it."""

import dataclasses
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.shapes import Shapes
from ar_seg_jax.interfaces import ModelState, predicted_shapes
from ar_seg_jax.reporting import encoding, evaluation, facts
from ar_seg_jax.reporting.account import Account, Picture
from ar_seg_jax.reporting.evaluation import Evaluation
from ar_seg_jax.reporting.sight import Sight
from ar_seg_jax.reporting.survey import Survey, survey
from ar_seg_jax.runs import naming, workdir
from ar_seg_jax.runs import run as runs
from ar_seg_jax.runs.run import Run
from ar_seg_jax.training import records

_logger = logging.getLogger(__name__)

_WIDEST = 1400  # pixels of a picture that the run left
_TITLES = {'': 'Images and what the method makes of them', 'panel': 'Best, median and worst images'}


def of_run(run: Run, state: ModelState, asked_for: Collection[str] = ()) -> Account:
    """All of it, after one pass over some images of the split that the run is evaluated on.

    asked_for: identifiers of images that are to be compared with those of another run.
    """
    step, data, method = int(state.step), run.reporter.data, run.task.method
    sizes = {split: info.num_examples for split, info in data.builder.info.splits.items()}
    found = evaluation.read(run.directory, step)
    account = _of_files(run.directory, run.config, step, found, sizes)
    if not method.num_clusters:
        return _with_note(account, f'{method.title} predicts no clusters, so that there are none to show.')
    if data.instances or 'glimpses' in predicted_shapes(method, data.image_shape):
        note = 'Numbers of objects mean nothing beyond their image, so that there are no clusters to show across images.'
        return dataclasses.replace(_with_note(account, note), pictures=_pictures(run.directory, step))
    shapes = found.shapes if found else None
    if shapes is not None and len(shapes.clusters) != method.num_clusters:
        place = workdir.evaluation(run.directory, step)
        raise UserError(
            f'{place}: shapes of {len(shapes.clusters)} clusters, but the model has {method.num_clusters}; evaluate it again'
        )
    return _with_survey(account, _survey(run, state), shapes, asked_for)


def of_directory(
    directory: Path, step: int | None = None, data_dir: str | None = None, asked_for: Collection[str] = ()
) -> Account:
    """That of a run's directory; what its files tell, with a warning, where its data or its network is not there.

    step: the last one that was saved, if it is not given. data_dir: see `open_run`. asked_for: see `of_run`.
    """
    config = workdir.load_config(directory)
    try:
        run = runs.open_run(config, directory, training=False, data_dir=data_dir)
        state = runs.evaluated(run, step)
    except UserError as error:
        account = without_images(directory, config, step, error)
        _logger.warning('%s: only what the files of the run tell is shown: %s', directory, error)
        return account
    return of_run(run, state, asked_for)


def without_images(directory: Path, config: Mapping[str, Any], step: int | None, reason: UserError) -> Account:
    """What the files of a run tell whose data or network is not there; the `reason`, a UserError, where they tell nothing.

    step: the last one that was evaluated, if it is not given.
    """
    evaluated = [int(path.stem) for path in (directory / 'evaluations').glob('*.json') if path.stem.isdecimal()]
    if not evaluated or step not in (None, *evaluated):
        raise reason
    step = max(evaluated) if step is None else step
    account = _of_files(directory, config, step, evaluation.read(directory, step), {})
    account = _with_note(account, f'Neither clusters nor images are shown: {reason}.')
    return dataclasses.replace(account, pictures=_pictures(directory, step))


def _of_files(
    directory: Path, config: Mapping[str, Any], step: int, found: Evaluation | None, sizes: Mapping[str, int]
) -> Account:
    """sizes: examples by split, as far as they are known."""
    logged = records.read(workdir.metrics(directory))
    account = Account(
        directory.resolve().name,
        step,
        facts.of_run(config, directory, step, sizes, logged, found.device if found else ''),
        logged,
    )
    if found is None:
        return _with_note(account, f'Step {step} was not evaluated: there are no scores of it.')
    return dataclasses.replace(
        account,
        warnings=found.shapes.warnings() if found.shapes else [],
        scores=found.scores,
        confusion=found.confusion,
        confusion_protocol=found.protocol,
    )


def _with_note(account: Account, note: str) -> Account:
    return dataclasses.replace(account, notes=[*account.notes, note])


def _survey(run: Run, state: ModelState) -> Survey:
    method, data, split = run.task.method, run.reporter.data, run.reporter.split
    mapping, classes = naming.of_clusters(run.directory, int(state.step), method.num_clusters)
    labelled = bool(data.classes) and [one.name for one in classes[: len(data.classes)]] == [one.name for one in data.classes]
    return survey(Sight(method, state), data.examples(split), split, mapping, classes, labelled=labelled)


def _with_survey(account: Account, seen: Survey, shapes: Shapes | None, asked_for: Collection[str]) -> Account:
    """shapes: of the clusters on a whole split, where they were measured."""
    return dataclasses.replace(
        account,
        clusters=seen.clusters(shapes.clusters if shapes else ()),
        measured=f'all images of {shapes.split!r}' if shapes else f'{len(seen.seen)} images of {seen.split!r}',
        images=seen.pictured(),
        ranked=seen.ranked(),
        compared=seen.asked_for(asked_for),
    )


def _pictures(directory: Path, step: int) -> dict[str, Picture]:
    """Those that the run left of a step."""
    found = {}
    for part, title in _TITLES.items():
        path = workdir.picture(directory, step, part)
        if path.is_file():
            with Image.open(path) as image:
                found[title] = encoding.photograph(np.array(image.convert('RGB')), f'{title}, step {step}', _WIDEST)
    return found
