"""A network on the images of a folder that it may never have seen, scored against the label maps there.

Images are segmented whole and as they are, as `ar_seg_jax.predict` does it, and compared with label maps pixel by pixel, but for
those without data: nothing is prepared, cropped or cut into blocks. A run scores itself on blocks at the scale of its training,
which gives slightly other numbers for the same data.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from tqdm import tqdm

from ar_seg_jax.configuration import unknown
from ar_seg_jax.data import annotation, coverage, folder, images
from ar_seg_jax.data.builder import existing_directory
from ar_seg_jax.data.classes import UNMATCHED, Class
from ar_seg_jax.data.label_pairs import refuse
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import agreement
from ar_seg_jax.evaluation.agreement import Agreement, Fit
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.prediction.network import Network


class Scene(NamedTuple):
    """An image with its label map."""

    image: Path
    label: Path


class Labelled(NamedTuple):
    """The labelled images of a folder.

    split: whose they are; '' for those of all splits. unlabelled: images of it without a label map, which count nowhere.
    """

    root: Path
    split: str
    scenes: Sequence[Scene]
    labels: annotation.Labels
    unlabelled: int


def labelled(root: str, split: str | None, default: str) -> Labelled:
    """The labelled images of a folder in the layout of `data.folder`: of a split; if none is asked for, of the `default` one, or
    of all where there is none of that name. DataError for what is missing."""
    directory = existing_directory(root, '--root is a folder with images/ and labels/, see ar_seg_jax/data/folder.py')
    found = folder.contents(directory)
    if not found.labels:
        raise DataError(
            f'{directory / "labels"}: no label maps, so there is nothing to score; ar_seg_jax/data/folder.py has the layout'
        )
    if split and split not in found.images:
        raise DataError(f'{directory}, --split: {unknown(split, found.images)}')
    chosen = split or (default if default in found.images else '')
    pairs = found.images[chosen] if chosen else [pair for of_split in found.images.values() for pair in of_split]
    scenes = [Scene(path, found.label_files[key]) for key, path in pairs if key in found.label_files]
    if not scenes:
        raise DataError(
            f'{directory}: none of {len(pairs)} images has a label map; that of {pairs[0][1]} would be '
            f'{directory / "labels" / pairs[0][0]}.png'
        )
    return Labelled(directory, chosen, scenes, found.labels, len(pairs) - len(scenes))


def score(network: Network, data: Labelled, fit: Fit) -> Agreement:
    """How well the clusters of the images agree with their labels, with the class that `fit` finds for each.

    DataError, after a line for each, if files cannot be read or do not fit together, before anything is segmented.
    """
    network.require_clusters()
    if network.finds_objects:
        raise UserError(
            f'{network.method.title} finds objects, whose numbers are no classes; their scores are those of data.instances'
        )
    refuse(_problems(network, data))
    scenes = tqdm(data.scenes, 'segmenting', unit='image', disable=None, leave=False)
    # Kept as PNG, a hundredth of their size, since they are gone through twice.
    clusters = [images.encode_png(_clusters(network, scene.image)) for scene in scenes]
    return agreement.measure(_Pairs(clusters, data), network.method.num_clusters, data.labels.classes, fit)


def stored(mapping: Sequence[int], named: Sequence[Class], data: Labelled) -> Int[np.ndarray, 'clusters']:
    """The class of each cluster among those of the folder, from the one that it has among `named` ones.

    UserError unless classes have the same names, in any order.
    """
    before, now = ([entry.name for entry in entries] for entries in (named, data.labels.classes))
    if sorted(before) != sorted(now):
        raise UserError(
            f'--match=saved: the run knows the classes {", ".join(before)}, and {data.root} has {", ".join(now)}; match clusters '
            'to these with --match=fit, or give classes the same names in classes.json'
        )
    return np.array([UNMATCHED if index == UNMATCHED else now.index(before[index]) for index in mapping])


class _Pairs:
    """What `agreement.measure` goes through."""

    def __init__(self, clusters: Sequence[bytes], data: Labelled):
        self._clusters, self._data = clusters, data

    def __iter__(self):
        for encoded, scene in zip(self._clusters, self._data.scenes, strict=True):
            clusters, label = images.decode_png(encoded, str(scene.image), ('L',)), self._data.labels.read(scene.label)
            empty = clusters == VOID
            yield np.where(empty, 0, clusters).astype(np.uint8), np.where(empty, VOID, label).astype(np.uint8)


def _clusters(network: Network, path: Path) -> UInt8[np.ndarray, 'height width']:
    """The cluster of each pixel, VOID where the image has no data."""
    image = network.form.read(path)
    covered, found = coverage.covered(path, image), network.clusters(image)
    return found if covered is None else np.where(covered, found, VOID).astype(np.uint8)


def _problems(network: Network, data: Labelled) -> list[str]:
    found = []
    for scene in data.scenes:
        try:
            image = network.form.read(scene.image)
        except DataError as error:
            found.append(str(error))
            image = None
        try:
            label = data.labels.read(scene.label)
            if image is not None:
                images.check_same_size(scene.label, label, image)
        except DataError as error:
            found.append(str(error))
    return found
