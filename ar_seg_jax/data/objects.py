"""Solids on a floor with exact instance masks, ray-traced on the spot: a data set of objects for a fresh machine."""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Iterator

import numpy as np
import threadpoolctl

from ar_seg_jax.data import scenes
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, config_name, example
from ar_seg_jax.data.limits import DataError

SPLITS = ('train', 'val', 'test')
_MOST = 10  # objects of a scene, as CLEVR has; for more it would take long to find room
_SMALLEST = 16  # pixels of a side, for objects to be seen in
_FEW = 100  # images that are made sooner than other processes have started
_ROUND = 1024  # images that are made ahead at most


@dataclasses.dataclass(eq=False, kw_only=True, repr=False)
class ObjectsConfig(SegmentationConfig):
    size: int
    level: str
    fewest: int
    most: int
    count: dict[str, int]
    seed: int


class Objects(SegmentationBuilder):
    """Images of random scenes. See `builder` for the options, and `scenes` for the levels."""

    builder_config: ObjectsConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split, count in self.builder_config.count.items() if count}

    def _generate_examples(self, split: str):
        config = self.builder_config
        make = functools.partial(scenes.picture, level=config.level, size=config.size, fewest=config.fewest, most=config.most)
        seeds = [(config.seed, SPLITS.index(split), index) for index in range(config.count[split])]
        for (_, _, index), (image, label) in zip(seeds, _made(make, seeds), strict=True):
            yield example(f'{split}_{index:05d}', image, label)


def builder(
    *,
    data_dir: str,
    size: int = 64,
    level: str = 'plain',
    fewest: int = 3,
    most: int = 6,
    train_count: int = 2000,
    val_count: int = 200,
    test_count: int = 200,
    seed: int = 0,
) -> Objects:
    """Builder for images of `size` x `size` pixels with `fewest` to `most` objects; splits train, val and test.

    level: plain, textured or camouflage, see `scenes`.

    The random numbers of an image follow from the seed, its split and its place in it, so that no two splits share a scene and
    the first images are the same whatever the counts are. A split of 0 images is left out. Raises DataError for numbers that do
    not fit.
    """
    count = dict(zip(SPLITS, (train_count, val_count, test_count), strict=True))
    _check(size, level, fewest, most, count, seed)
    options = {'size': size, 'level': level, 'fewest': fewest, 'most': most, 'count': count, 'seed': seed}
    config = ObjectsConfig(name=config_name(f'objects-{level}-{size}', **options), classes=(), instances=True, **options)
    return Objects(config=config, data_dir=data_dir)


def _made(make, seeds: list[tuple[int, int, int]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`make` of each of the seeds, in order, by as many processes as there are cores.

    Each computes in one thread, since arrays are too small for several.
    """
    processes = (os.cpu_count() or 1) if len(seeds) > _FEW else 1
    if processes == 1:
        with threadpoolctl.threadpool_limits(1, 'blas'):
            yield from map(make, seeds)
        return
    context = multiprocessing.get_context('spawn')  # JAX has threads, which a fork would leave without their locks
    limit = functools.partial(threadpoolctl.threadpool_limits, 1, 'blas')
    with concurrent.futures.ProcessPoolExecutor(processes, context, initializer=limit) as pool:
        for first in range(0, len(seeds), _ROUND):
            yield from pool.map(make, seeds[first : first + _ROUND], chunksize=8)


def _check(size: int, level: str, fewest: int, most: int, count: dict[str, int], seed: int):
    if level not in scenes.LEVELS:
        raise DataError(f'data.level is one of {", ".join(scenes.LEVELS)}, found {level!r}')
    if size < _SMALLEST:
        raise DataError(f'data.size is a number of pixels, at least {_SMALLEST}, found {size}')
    if not 1 <= fewest <= most <= _MOST:
        raise DataError(
            f'data.fewest and data.most are numbers of objects with 1 <= fewest <= most <= {_MOST}, found {fewest}, {most}'
        )
    if min(*count.values(), seed) < 0 or not any(count.values()):
        raise DataError(f'the counts of images and the seed are at least 0, and one count above it; found {count}, seed {seed}')
