"""Images of squares on a floor, whose labels are numbers of objects; and a method that knows their colours.

It stands for methods that find objects: it gives all that these give, from the colours alone.

As a program, a command that reads a run of that method, whatever --workdir says: python tests/support/squares.py predict --...
"""

import dataclasses
import runpy
import sys
from pathlib import Path

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np

from ar_seg_jax import sharding
from ar_seg_jax.data.builder import SegmentationBuilder, SegmentationConfig, example, prepare
from ar_seg_jax.data.classes import objects
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.data.form import Form
from ar_seg_jax.interfaces import VOID, Method, ModelState, Outputs
from ar_seg_jax.prediction import network

SIDE = 16  # pixels
FLOOR = (120, 120, 120)
COLOURS = ((220, 40, 40), (40, 200, 40), (40, 40, 230))  # of objects; the method has a slot for each
# Corners (row, column) and sides of the squares of each image, the first in the first colour, and so on; None has no labels.
SQUARES = (
    [(1, 1, 5), (9, 8, 6)],
    [(3, 2, 4), (2, 9, 4), (9, 5, 5)],
    [],
    [(4, 4, 8)],
    None,
    [(0, 0, 6), (2, 3, 4), (10, 10, 6)],  # the second hides a part of the first
)


def painted(squares) -> tuple[np.ndarray, np.ndarray]:
    """Image and label map."""
    image = np.full((SIDE, SIDE, 3), FLOOR, np.uint8)
    label = np.zeros((SIDE, SIDE), np.uint8)
    for number, (row, column, side) in enumerate(squares or [], 1):
        image[row : row + side, column : column + side] = COLOURS[number - 1]
        label[row : row + side, column : column + side] = number
    return image, label


class Squares(SegmentationBuilder):
    builder_config: SegmentationConfig

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples() for split in ('train', 'val')}

    def _generate_examples(self):
        for index, squares in enumerate(SQUARES):
            image, label = painted(squares)
            yield example(f'image_{index}', image, None if squares is None else label)


def dataset(data_dir, batch_size=8, mesh=None) -> Dataset:
    """Prepared; the batches of evaluation are filled up."""
    config = SegmentationConfig(name='squares', classes=(), instances=True)
    builder = prepare(Squares(config=config, data_dir=str(data_dir)))
    options = {'crop_size': SIDE, 'batch_size': 4}
    evaluation = {'crop_size': 0, 'batch_size': batch_size}
    return Dataset(builder, 'train', options, evaluation, mesh or sharding.make_mesh(), seed=0)


@dataclasses.dataclass(frozen=True)
class ByColour(Method):
    """Slot k is what is closest to colour k, but for the slots that are `merged` into slot 1."""

    merged: tuple[int, ...] = ()

    title, loss_in_words = 'By colour', 'nothing'
    num_clusters = 1 + len(COLOURS)
    image_size = (SIDE, SIDE)
    output_stride, first_cell = 1, 0.0

    def init(self, key, image):
        return {'palette': jnp.array([FLOOR, *COLOURS], jnp.float32) / 255}, {}

    def forward(self, params, extra, batch, *, key, time, part=0):
        return batch['image'].mean((1, 2, 3)) * params['palette'].sum(), extra

    def objective(self, outputs, batch, *, time):
        return outputs.mean(), {}

    def predict(self, params, extra, image):
        palette = params['palette']
        x = image / jnp.float32(255)
        chosen = jnp.argmin(jnp.sum((x[..., None, :] - palette[None, None, None]) ** 2, -1), -1)
        segments = jnp.where(jnp.isin(chosen, jnp.array(self.merged, int)), 1, chosen)
        scores = jax.nn.one_hot(segments, self.num_clusters)
        masks = jnp.moveaxis(scores[..., 1:], -1, 1)
        u = (2 * jnp.arange(SIDE, dtype=jnp.float32) + 1) / SIDE - 1
        area = jnp.maximum(masks.sum((2, 3)), 1)
        centre = [jnp.sum(masks * axis, (2, 3)) / area for axis in (u[None, None, None], u[None, None, :, None])]
        scale = jnp.full(area.shape, 2.0)
        glimpses = jnp.broadcast_to(palette[None, 1:, None, None], (len(image), len(COLOURS), 8, 8, 3))
        glimpses = jnp.concatenate([glimpses, jnp.ones((*glimpses.shape[:-1], 1))], axis=-1)
        return Outputs(
            scores=scores,
            features=x,
            logits=20 * scores[:, ::4, ::4, 1:],
            reconstruction=palette[segments],
            background=jnp.broadcast_to(palette[0], x.shape),
            glimpses=glimpses,
            places=jnp.stack([*centre, scale, scale], -1),
        )


def labels(index) -> np.ndarray:
    """Of an image, VOID where it has none."""
    _, label = painted(SQUARES[index])
    return np.full_like(label, VOID) if SQUARES[index] is None else label


def trained() -> network.Network:
    """As a run of the method would be loaded."""
    method = ByColour()
    state = ModelState(np.int32(7), *method.init(None, None))
    return network.Network(method, state, range(method.num_clusters), objects(len(COLOURS)), Form())


if __name__ == '__main__':
    network.load = lambda directory, step, names=None: trained()
    runpy.run_module(f'ar_seg_jax.{sys.argv.pop(1)}', run_name='__main__')
