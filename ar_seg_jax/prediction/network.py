"""A trained network as functions from images to label maps, scores and features."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Num, UInt8

from ar_seg_jax import build, files, sharding
from ar_seg_jax.data import images
from ar_seg_jax.data.classes import Class, classes_of
from ar_seg_jax.data.classes import objects as numbered_objects
from ar_seg_jax.data.form import Form
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Method, ModelState, Outputs, predicted_shapes, sides
from ar_seg_jax.prediction import given, objects, tiling
from ar_seg_jax.prediction.objects import Objects
from ar_seg_jax.runs import naming, workdir
from ar_seg_jax.training.checkpoint import Checkpoints

Image = Num[np.ndarray, 'height width channels']
# Of numbers '*batch height width channels', or what `given.pixels` makes such of.
Images = Any


@dataclasses.dataclass(frozen=True)
class Network:
    """What a run has learned, for new images.

    Images are as the raw training images are, in depth and scale: arrays of height x width x channels, or of a batch of them, or
    what `given` takes for such. They are brought to the scale of the training, or to the one size that the method takes, and what
    is found for their pixels back to theirs. Threads may share a network: the devices serve one at a time. Every new size of
    image, or of tile, is compiled first.

    mapping: the class of each cluster, -1 for none. classes: their names and colours. Both are empty for methods that predict no
    clusters, and so have features only. form: of the raw images.
    """

    method: Method
    state: ModelState
    mapping: Sequence[int]
    classes: tuple[Class, ...]
    form: Form

    def segment(self, image: Images) -> UInt8[Any, '*batch height width']:
        """The class of each pixel of an image, or of a batch of them; 255 for clusters without a class."""
        found = self._of_each(image, lambda one: classes_of(self.clusters(one), np.array(self.mapping)))
        return given.like(image, found, 'labels')

    def scores(self, image: Images) -> Float32[Any, '*batch height width clusters']:
        """Probabilities of the clusters at each pixel of an image, or of a batch of them, each of which must fit into memory."""

        def of_one(one: Image):
            found = self._compiled('scores')(self._scaled(one))
            same = found.shape[:2] == one.shape[:2]
            return found if same else np.asarray(jax.image.resize(found, (*one.shape[:2], found.shape[-1]), 'bilinear'))

        return given.like(image, self._of_each(image, of_one), 'scores', 'cluster')

    def features(self, image: Images) -> Float32[np.ndarray, '*batch map_height map_width depth']:
        """A map of features, see the model, of an image or of a batch of them, each of which must fit into memory."""
        return self._of_each(image, lambda one: self._compiled('features')(self._scaled(one)))

    def objects(self, image: Images) -> Objects:
        """The objects in an image of any size, or in a batch of them; UserError for a network that knows of none."""
        if not self.finds_objects:
            raise UserError(f'{self.method.title} knows of no objects; segment() gives its clusters')
        return self._of_each(image, self._objects)

    @functools.cached_property
    def finds_objects(self) -> bool:
        """Whether the method makes images of objects, which have numbers instead of classes."""
        size = self.method.image_size
        return size is not None and 'glimpses' in predicted_shapes(self.method, (1, *size, self.form.channels))

    def _objects(self, image: Image) -> Objects:
        seen = self._scaled(image)
        found = self._compiled('objects')(seen)
        labels = images.resize(found.pop('labels'), *image.shape[:2], label=True)
        return Objects(labels=labels, image=seen, **found)

    def clusters(self, image: Image) -> UInt8[np.ndarray, 'height width']:
        """The cluster of each pixel of an image of any size, which goes through in tiles where the method lets it."""
        found = self.in_tiles(self._scaled(image))
        return images.resize(found, *image.shape[:2], label=True)

    def in_tiles(self, image: Image) -> UInt8[np.ndarray, 'height width']:
        """The same of an image that is at the scale of the training already."""
        if not self.takes_tiles:
            return self._compiled('clusters')(image)
        if self._blended:
            return tiling.blend(self._compiled('scores'), image, self.method.output_stride)
        return tiling.segment(self._compiled('clusters'), image, self.method.output_stride)

    def rows(self, read: tiling.Read, size: tuple[int, int], begin: int = 0) -> tiling.Rows:
        """The same of an image of some height and width that need not fit into memory, row of tiles by row of tiles, from one on.

        `read` gives what a tile sees, at the scale of the training. Only for a network that `takes_tiles`.
        """
        if self._blended:
            return tiling.blend_rows(self._compiled('scores'), read, size, self.method.output_stride, begin)
        return tiling.segment_rows(self._compiled('clusters'), read, size, self.method.output_stride, begin)

    @property
    def takes_tiles(self) -> bool:
        """Whether it segments large images in parts; other networks want to see them whole."""
        return not self.method.image_size and self.method.tiled

    @property
    def _blended(self) -> bool:
        """Whether it looks further than the margin of a tile."""
        return self.method.reach is None or self.method.reach > tiling.MARGIN

    def require_clusters(self):
        """UserError if the method predicts none."""
        if not self.method.num_clusters:
            raise UserError(
                f'{self.method.title} predicts no clusters, so there is nothing to segment; take features() in Python, or '
                'train a method with clusters that begins with these weights, see --config.initial_weights'
            )

    def _scaled(self, image: Image) -> UInt8[np.ndarray, '_ _ channels']:
        """In 8 bits, at the scale of the training, or at the size that the method takes, whatever becomes of its proportions."""
        image, size = self.form.to_8_bits(image), self.method.image_size
        return images.resize(image, *size) if size else self.form.scaled(image)

    def _of_each(self, image: Images, function: Callable[[Image], Any]) -> Any:
        """`function` of an image, or of each of a batch, whose arrays are put together; UserError for what is neither."""
        image = given.pixels(image, rgb=self.form.channels == 3 and not self.form.ranges)
        fits = image.dtype.kind in 'uif' if self.form.ranges else image.dtype == np.uint8
        if not fits or image.ndim not in (3, 4) or image.shape[-1] != self.form.channels or not image.size:
            raise UserError(
                f'expected an image of {"numbers" if self.form.ranges else "8 bits (uint8)"} of height x width x '
                f'{self.form.channels}, or a batch of them; found {image.dtype} of shape {image.shape}'
            )
        return function(image) if image.ndim == 3 else jax.tree.map(lambda *parts: np.stack(parts), *map(function, image))

    def _compiled(self, output: str) -> Callable[[Image], Any]:
        if output != 'features':
            self.require_clusters()
        return self._functions[output]

    @functools.cached_property
    def _functions(self) -> dict[str, Callable[[Image], Any]]:
        """From an image at the scale of the training to each kind of output."""
        turn = threading.Lock()

        def in_turn(read: Callable[[Outputs], Any]) -> Callable[[Image], Any]:
            # Parameters are arguments: as constants, they would be part of the program of each shape.
            @jax.jit
            def compiled(params, extra, image):
                return jax.tree.map(lambda of_batch: of_batch[0], read(self.method.predict(params, extra, image[None])))

            def one(image: Image) -> Any:
                with turn:
                    return jax.tree.map(np.asarray, compiled(self.state.params, self.state.extra, image))

            return one

        return {
            'clusters': in_turn(lambda outputs: outputs['scores'].argmax(-1).astype(jnp.uint8)),
            'scores': in_turn(lambda outputs: outputs['scores']),
            'features': in_turn(self._features),
            'objects': in_turn(objects.read),
        }

    def _features(self, outputs: Outputs) -> jax.Array:
        if 'features' not in outputs:
            raise UserError(f'{self.method.title} predicts no features; what it predicts is {", ".join(outputs) or "nothing"}')
        return outputs['features'].astype(jnp.float32)


def load(directory: Path | str, step: int | None = None, names: Path | str | None = None) -> Network:
    """The network of a run's directory after a step, the last one saved if it is not given.

    Classes are those of the run's evaluation of this step, or of the file `names`, see `runs.naming`; without them clusters have
    numbers. UserError for what is not there or does not fit together.
    """
    directory = files.expanded(directory)
    config = workdir.load_config(directory)
    form = workdir.load_form(directory)
    build.check_channels(config, form.channels)
    method = build.method(config, workdir.load_normalisation(directory) if build.wants_measured(config) else None)
    state = Checkpoints(workdir.checkpoints(directory)).restore_model(_shapes(method, config, form.channels), step)
    network = Network(method, state, (), (), form)
    if not method.num_clusters:
        return network
    if network.finds_objects:
        mapping, classes = range(method.num_clusters), numbered_objects(method.num_clusters - 1)
    else:
        mapping, classes = naming.of_clusters(
            directory, int(state.step), method.num_clusters, files.expanded(names) if names else None
        )
    return dataclasses.replace(network, mapping=mapping, classes=classes)


def _shapes(method: Method, config: build.Config, channels: int) -> ModelState:
    image = jax.ShapeDtypeStruct((1, *sides(config['pipeline']['crop_size']), channels), jnp.uint8)
    params, extra = jax.eval_shape(method.init, jax.eval_shape(lambda: jax.random.key(0)), image)
    state = ModelState(jax.ShapeDtypeStruct((), jnp.int32), params, extra)
    everywhere = sharding.replicated(sharding.make_mesh())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), state)
