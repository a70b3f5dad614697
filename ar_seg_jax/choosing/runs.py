"""Runs as candidates: all of them look at the same images, those of the first."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ar_seg_jax import files, sharding
from ar_seg_jax.choosing import criteria, looking, merging, ranking
from ar_seg_jax.choosing.criteria import Look
from ar_seg_jax.choosing.looking import Shown
from ar_seg_jax.choosing.merging import Map
from ar_seg_jax.choosing.ranking import Candidate, Ranking
from ar_seg_jax.configuration import differences, in_words
from ar_seg_jax.data import pipeline
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import shapes
from ar_seg_jax.prediction import network
from ar_seg_jax.prediction.network import Network
from ar_seg_jax.runs import assembly, workdir

_logger = logging.getLogger(__name__)


def choose(directories: Mapping[str, Path], count: int, data_dir: str | None = None) -> Ranking:
    """Ranks runs by name, by up to `count` images of the training split of the first; those without clusters are left out.

    data_dir: where these are prepared, if not where the first run has them.
    UserError unless all learned from images that were prepared in the same way, and two are left.
    """
    configs = {name: workdir.load_config(directory) for name, directory in directories.items()}
    first, *others = directories
    for name in others:
        if unlike := differences(_images_of(configs[first]), _images_of(configs[name])):
            raise UserError(f'runs are compared on the same images, and {in_words(unlike, first, name)}')
    images = _images(configs[first], count, data_dir)
    looks: dict[str, Look] = {}
    scores: dict[str, float | None] = {}
    for number, (name, directory) in enumerate(directories.items(), 1):
        try:
            trained = _of_classes(network.load(directory))
            looks[name] = looking.look(trained.method, trained.state, images)
        except UserError as error:
            _logger.warning('%s is left out: %s', name, error)
            continue
        scores[name] = _score(workdir.evaluation(directory, int(trained.state.step)))
        _logger.info('%d of %d: %s', number, len(directories), name)
    if len(looks) < 2:
        raise UserError('nothing to choose among: fewer than two runs can be looked at')
    found = {name: criteria.of_look(look) for name, look in looks.items()}
    found = ranking.with_seeds(found, _agreements(configs, looks))
    return ranking.ranked([Candidate(name, found[name], scores[name]) for name in looks])


def merged(
    directory: Path, step: int | None, clusters: int, distance: int, count: int, data_dir: str | None = None
) -> tuple[int, list[int]]:
    """The step of a run's network, and the group of each of its clusters, see `merging`; by up to `count` training images.

    UserError unless it has more clusters than are to be left.
    """
    trained = _of_classes(network.load(directory, step))
    if trained.method.num_clusters <= clusters:
        raise UserError(f'{directory} has {trained.method.num_clusters} clusters; expected more than --clusters={clusters}')
    images = _images(workdir.load_config(directory), count, data_dir)
    maps = [Map(trained.in_tiles(image), counted) for image, counted in images]
    number = trained.method.num_clusters
    counts = sum(np.asarray(shapes.counts(one.clusters[None], one.counted[None], number)).astype(np.int64) for one in maps)
    return int(trained.state.step), merging.groups(maps, shapes.of_clusters(counts), distance, clusters)


def _of_classes(trained: Network) -> Network:
    """UserError unless clusters mean the same in all images."""
    trained.require_clusters()
    if trained.finds_objects:
        raise UserError(f'{trained.method.title} finds objects, whose numbers mean nothing beyond their image')
    return trained


def _images_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What says which images a run learned from, and how they were prepared."""
    return {'data': {key: value for key, value in config['data'].items() if key not in ('data_dir', 'labels')}}


def _images(config: Mapping[str, Any], count: int, data_dir: str | None) -> Sequence[Shown]:
    """Evenly spread over the training split."""
    given = {'data_dir': data_dir} if data_dir else {}
    data = assembly.dataset({**config, 'data': {**config['data'], **given}}, sharding.make_mesh())
    data = assembly.prepared(data, may_write=bool(data_dir))
    examples = data.examples(data.train_split)
    decoded = [pipeline.decode(examples[place]) for place in pipeline.evenly_spread(len(examples), count)]
    return [Shown(one['image'], pipeline.covered(one)) for one in decoded]


def _agreements(configs: Mapping[str, Mapping[str, Any]], looks: Mapping[str, Look]) -> dict[tuple[str, str], float]:
    """Of the pairs of runs whose configs differ in the seed only."""
    return {
        (one, other): criteria.agreement(looks[one], looks[other])
        for one, other in itertools.combinations(looks, 2)
        if _differ_in_the_seed(configs[one], configs[other])
    }


def _differ_in_the_seed(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two runs were trained by the same config but for the seed, and what changes no training."""
    free = (*(key for key in workdir.FREE if key not in ('steps', 'epochs')), 'data.labels')
    keys = [key for key, *_ in differences(one, other)]
    return all(key == 'seed' or any(key == place or key.startswith(f'{place}.') for place in free) for key in keys)


def _score(path: Path) -> float | None:
    """The mIoU of an evaluation under its first protocol; None without labels."""
    if not path.exists():
        return None
    match files.read_json(path):
        case {'segmentation': {'results': [{'scores': {'mean_iou': float(score)}}, *_]}}:
            return score
    return None
