"""A trained network as a function from images to label maps."""

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from ar_seg_jax import build, tiling, workdir
from ar_seg_jax.classes import Class, numbered
from ar_seg_jax.data import images
from ar_seg_jax.interfaces import Method
from ar_seg_jax.training import loop, sharding
from ar_seg_jax.training.checkpoint import Checkpoints
from ar_seg_jax.training.state import TrainState

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Network:
    """What `predict` needs of a run.

    scores: probabilities of the clusters, of an image at the scale of the training; segment: the best of them; each shape is
    compiled once. far: whether those of a pixel depend on more of the image than the margin of a tile. channels, rescale: the
    form of the images. mapping: the class of each cluster, -1 for none. Threads may share it: the devices serve one at a time.
    """

    scores: Callable[[UInt8[np.ndarray, 'height width channels']], Float32[np.ndarray, 'height width clusters']]
    segment: Callable[[UInt8[np.ndarray, 'height width channels']], UInt8[np.ndarray, 'height width']]
    far: bool
    channels: int
    rescale: float
    mapping: Sequence[int]
    classes: tuple[Class, ...]

    def clusters(self, image: UInt8[np.ndarray, 'height width channels']) -> UInt8[np.ndarray, 'out_height out_width']:
        """The cluster of each pixel of an image that is brought to the scale of the training."""
        return self.in_tiles(images.rescale(image, self.rescale))

    def in_tiles(self, image: UInt8[np.ndarray, 'height width channels']) -> UInt8[np.ndarray, 'height width']:
        """The same of an image that has this scale."""
        return tiling.blend(self.scores, image) if self.far else tiling.segment(self.segment, image)


def load(directory: Path, step: int | None = None) -> Network:
    """The network of a run's directory after a step, the last one saved if it is not given.

    Classes are those of the run's evaluation of this step; without one, clusters have numbers. ValueError for what does not fit
    together, FileNotFoundError for what is not there.
    """
    config = workdir.load_config(directory)
    channels, rescale = workdir.load_input(directory)
    images.check_form(directory / 'data.json', channels, rescale)
    with workdir.explained(directory):
        method = build.method(config)
        crop = config['pipeline']['crop_size']
        like = loop.initial_state(method, build.optimizer(config), 0, (1, crop, crop, channels), sharding.make_mesh())
    state = Checkpoints(workdir.checkpoints(directory)).restore(like, step)

    found = workdir.load_cluster_classes(directory, int(state.step))
    count = method.num_clusters
    mapping, classes = found or (range(count), numbered('cluster', count))
    if len(mapping) != count:
        place = workdir.evaluation(directory, int(state.step))
        raise ValueError(f'{place}: classes of {len(mapping)} clusters, but the model has {count}; evaluate the step again')
    if found is None:
        _logger.info('Step %d was not evaluated with labels: clusters have numbers instead of names', state.step)
    return Network(*_functions(method, state), build.sees_far(config), channels, rescale, mapping, classes)


def _functions(method: Method, state: TrainState) -> tuple[Callable, Callable]:
    """Scores and clusters of an image."""
    turn = threading.Lock()

    # Parameters are arguments: as constants, they would be part of the program of each shape.
    def scores(params, extra, image):
        return method.predict(params, extra, image[None])['scores'][0]

    def clusters(params, extra, image):
        return scores(params, extra, image).argmax(-1).astype('uint8')

    def in_turn(function: Callable) -> Callable:
        compiled = jax.jit(function)

        def one(image: np.ndarray) -> np.ndarray:
            with turn:
                return np.asarray(compiled(state.params, state.extra, image))

        return one

    return in_turn(scores), in_turn(clusters)
