"""Scores a checkpoint of a run with the unmasked network, and draws its pictures.

    python -m ar_seg_jax.evaluate --workdir runs/coco3 [--step N] [--split test] [--probes linear,non-linear:logits]
      [--data_dir DIR] [--names FILE]
    python -m ar_seg_jax.evaluate --workdir runs/coco3 --root DIR [--match fit|saved] [--step N] [--split test] [--output FILE]

Step 0 is the network before training. What is found of another --split than that of the run has its name in those of files, such
as evaluations/006150-test.json. --probes is used in place of config.evaluators.probes.names. Data is read where the run prepared
it; --data_dir is for a run that comes from another machine. Where a person named the clusters, in --names or in names.json of the
run (docs/report.md), these names are scored too, and pictured.

--root is any folder of images with label maps, in the layout of ar_seg_jax/data/folder.py: another data set, or that of the run
after it moved. Its images are segmented whole, as `predict` does it. The classes of clusters are those that fit best on these
images (--match=fit, by the matching of the run's first protocol), or those that the run's own evaluation of the step found and
stored (--match=saved). What is scored is --split, or else the run's split if the folder has it, or else all. Prints accuracy, IoU
and boundary F-score of each class with 95 % intervals over the images, and keeps them in a file of their own, such as
evaluations/006150-on-mine-val-fit.json; nothing that the run wrote changes.

The config of a run that belongs to another user could name any file of yours, so that one is evaluated with --root only.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from ar_seg_jax import cli
from ar_seg_jax.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint, or 0; the last checkpoint if not given.')
_SPLIT = flags.DEFINE_string('split', None, 'Split that is scored and pictured; config.evaluation.split if not given.')
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Directory of prepared data, where it is prepared if it is not there yet.')
_PROBES = flags.DEFINE_list('probes', None, 'Probes to train on the frozen network, such as linear:logits; empty for none.')
_ROOT = flags.DEFINE_string('root', None, 'Folder of images and label maps to score in place of the data of the run.')
_MATCH = flags.DEFINE_enum('match', None, ['fit', 'saved'], 'With --root: where clusters get their classes; fit if not given.')
_OUTPUT = flags.DEFINE_string('output', None, 'With --root: JSON file for the numbers, in place of one in the run.')
_NAMES = flags.DEFINE_string('names', None, 'File with names of the clusters; names.json of the run if there is one.')
cli.define_process_flags()


def main():
    from ar_seg_jax.runs import workdir

    directory = Path(_WORKDIR.value)
    config = workdir.load_config(directory)
    if _ROOT.value:
        _evaluate_elsewhere(directory, config)
    else:
        _evaluate(directory, config)


def _evaluate(directory: Path, config: dict[str, Any]):
    """On the data of the run."""
    from ar_seg_jax.runs import run as runs
    from ar_seg_jax.runs import workdir

    _refuse({'--match': _MATCH.value, '--output': _OUTPUT.value}, 'goes with --root=DIR, a folder of images to score')
    if workdir.is_foreign(directory):
        raise UserError(
            f'{directory} belongs to another user, and its config says which files would be read (data.root is '
            f'{config["data"].get("root", "not set")!r}). Say where images and label maps are: --root=DIR; or, if you trust it, '
            'evaluate a copy of the run, which is yours'
        )
    if _PROBES.value is not None:
        if 'probes' not in config['evaluators']:
            raise UserError(f'--probes: the config of {directory} has no evaluators.probes, which says how they are trained')
        config['evaluators']['probes']['names'] = _PROBES.value
    names = files.expanded(_NAMES.value) if _NAMES.value else None
    run = runs.open_run(config, directory, training=False, data_dir=_DATA_DIR.value, split=_SPLIT.value, names=names)
    with run.outputs:
        run.reporter.report(runs.evaluated(run, _STEP.value))


def _evaluate_elsewhere(directory: Path, config: dict[str, Any]):
    """On another folder."""
    import jax

    from ar_seg_jax import files
    from ar_seg_jax.evaluation import agreement
    from ar_seg_jax.evaluation.protocols import MATCHINGS
    from ar_seg_jax.prediction import elsewhere, network
    from ar_seg_jax.runs import assembly

    given = {
        '--probes': _PROBES.value,
        '--names': _NAMES.value,
        '--data_dir': _DATA_DIR.value,
        'more than one process': jax.process_count() > 1,
    }
    _refuse(given, 'does not go with --root, of which images are segmented one by one, and nothing is prepared')
    data = elsewhere.labelled(_ROOT.value, _SPLIT.value, config['evaluation']['split'])
    trained = network.load(directory, _STEP.value)
    step, match = int(trained.state.step), _MATCH.value or 'fit'
    if match == 'saved':
        mapping = _saved(directory, step, data, trained)
        fit, words = lambda _: mapping, f'as the evaluation of step {step} of the run itself found them (--match=saved)'
    else:
        matching = assembly.matching(config)
        fit = MATCHINGS[matching]
        words = f'by {matching} matching, fitted on these same images (--match=fit: no held-out score)'
    found = elsewhere.score(trained, data, fit)
    place = _place(directory, step, data, match)
    if place:
        content = {'step': step, 'root': str(data.root), 'split': data.split, 'match': match, 'classes_of_clusters': words}
        files.write_json(place, {**content, **agreement.content(found)})
    split = f'split {data.split!r}' if data.split else 'all images'
    print(f'{trained.method.title}, step {step} of {directory}, on {data.root}, {split}')
    if data.unlabelled:
        print(f'{data.unlabelled} images without a label map are left out')
    print(f'Classes of clusters: {words}')
    print('\n'.join(agreement.lines(found)))
    print(f'\nNumbers: {place}' if place else '\nNumbers are not kept in the run of another user; --output=FILE keeps them')


def _refuse(given: Mapping[str, Any], reason: str):
    """UserError for the first of what is given."""
    for name, value in given.items():
        if value not in (None, False):
            raise UserError(f'{name} {reason}')


def _saved(directory: Path, step: int, data, trained):
    """The class of each cluster that the run's evaluation of a step found, as one of those of the folder."""
    from ar_seg_jax.prediction import elsewhere
    from ar_seg_jax.runs import naming, workdir

    stored = naming.evaluated(directory, step, trained.method.num_clusters)
    if not stored:
        raise UserError(
            f'--match=saved: {workdir.evaluation(directory, step)} has no classes of clusters, since step {step} was never '
            'evaluated with labels; evaluate the run on its own data first, without --root, or use --match=fit'
        )
    return elsewhere.stored(*stored, data)


def _place(directory: Path, step: int, data, match: str) -> Path | None:
    """Where the numbers go; None if that would be in the run of another user."""
    from ar_seg_jax import files
    from ar_seg_jax.runs import workdir

    if _OUTPUT.value:
        return files.expanded(_OUTPUT.value)
    if workdir.is_foreign(directory):
        return None
    workdir.check_inside(directory)
    return workdir.evaluation(directory, step, 'on', re.sub(r'[^\w.-]+', '_', data.root.name), data.split, match)


if __name__ == '__main__':
    cli.run(main)
