"""STEGO: codes that are alike where the features of a frozen encoder are, and clusters of these codes."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Extra, Metrics, Model, Outputs, Params, Remark
from ar_seg_jax.methods import clusters, frozen
from ar_seg_jax.methods.frozen import FrozenEncoder, Upsampling
from ar_seg_jax.models.projector import Projector
from ar_seg_jax.objectives import clustering, correspondence


class Term(NamedTuple):
    """The weight of a part of the loss, and its shift: how alike features are from which on codes should be alike."""

    weight: float
    shift: float


@dataclasses.dataclass(frozen=True)
class STEGO(FrozenEncoder):
    """Distils correspondences of features (Hamilton, Zhang, Hariharan, Snavely and Freeman 2022).

    See `objectives.correspondence`.

    The loss has three terms, which train the projector: of each image with itself, with its nearest neighbour, and with others.
    Beside them the cluster probe, prototypes that the code is not trained by, makes the cosine of each code with its nearest
    prototype as large as it can.

    own, neighbour, others: the three terms.
    points: of each image, which are drawn twice, for both sides of a pair.
    other_images: that each image is compared with.

    The neighbour of an image is the nearest other one of its batch, by mean features. In the paper it is one of the seven nearest
    of all training images, drawn anew in each step; here a step sees its batch alone, since batches come from the data in an
    order that no method knows. A larger batch has nearer neighbours. The others are the next images of the batch, where the
    released code draws permutations of it. It also trains a linear probe with labels (the evaluator `probes` has one), averages
    the codes of an image and of its mirror image for predictions, and keeps the checkpoint of the highest mIoU on labels of val.
    """

    title = 'STEGO'
    loss_in_words = 'minus the correlation of codes and features, less the cosine of codes and their prototypes'

    own: Term
    neighbour: Term
    others: Term
    points: int
    other_images: int

    def __post_init__(self):
        super().__post_init__()
        for name in ('own', 'neighbour', 'others'):
            weight, shift = getattr(self, name)
            if not (0 <= weight < math.inf and math.isfinite(shift)):
                wanted = f'method.{name}_weight is at least 0 and method.{name}_shift a number, such as 0.1'
                raise UserError(f'{wanted}; found {weight} and {shift}')
        for name in ('points', 'other_images'):
            if getattr(self, name) < 1:
                raise UserError(f'method.{name} is at least 1, found {getattr(self, name)}')

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        dropout_key, *sides = jax.random.split(jax.random.fold_in(key, part), 3)
        features = self.seen(params, extra, batch)
        code, seen = self.project(params, features, dropout_key)
        counted = self.counted(batch, code)
        likeness = frozen.cosines(params['prototypes'], jax.lax.stop_gradient(code))
        weights = counted[..., None].astype(jnp.float32)
        nearest = jax.nn.one_hot(jnp.argmax(likeness, axis=-1), self.num_clusters) * weights
        first, second = (correspondence.sampled(seen, code, counted, self.points, side) for side in sides)
        outputs = {
            'first': first,
            'second': second,
            'pooled': jnp.sum(features * weights, (1, 2), jnp.float32) / jnp.maximum(weights.sum((1, 2)), 1),
            'cosines': jnp.sum(nearest * likeness, (1, 2, 3)),
            'counts': nearest.sum((1, 2)),
        }
        return outputs, extra

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        first, second = outputs['first'], outputs['second']

        def compared(others, shift: float):
            return correspondence.correspondence(first, others, shift)

        neighbours = correspondence.nearest_images(outputs['pooled'])
        # Each of the others once, in a batch that has fewer than are wanted.
        following = [second.rolled(step) for step in range(1, 1 + min(self.other_images, len(neighbours) - 1))]
        parts = {
            'own': compared(first, self.own.shift),
            'neighbour': compared(second.of_images(neighbours), self.neighbour.shift),
            'others': sum(compared(others, self.others.shift) for others in following) / len(following),
        }
        loss = sum(getattr(self, name).weight * part for name, part in parts.items())
        cosine = outputs['cosines'].sum() / jnp.maximum(outputs['counts'].sum(), 1)
        return loss - cosine, {**parts, 'cosine': cosine, **clustering.evenness(outputs['counts'].sum(0))}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        return self.predicted(params, extra, image, params['prototypes'])

    def describe(self, metrics) -> Remark:
        entropy, bound = metrics['entropy'], metrics['entropy_bound']
        words = (
            f'own {metrics["own"]:.4f}  neighbour {metrics["neighbour"]:.4f}  others {metrics["others"]:.4f}  '
            f'cosine {metrics["cosine"]:.3f}  H(y) {entropy:.3f} of at most {bound:.3f} nats'
        )
        return clustering.remark(words, entropy, bound, 'another seed or a larger shift (--config.method.others_shift)')


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    width: int,
    dropout: float,
    temperature: float,
    upsampling: Upsampling,
    cached: bool,
    own_weight: float,
    own_shift: float,
    neighbour_weight: float,
    neighbour_shift: float,
    others_weight: float,
    others_shift: float,
    points: int,
    other_images: int,
) -> STEGO:
    """From the options of config.method; see `STEGO`, `FrozenEncoder` and `Projector`."""
    clusters.check(num_clusters)
    frozen.check_projector(width, dropout)
    model = make_model(heads={})
    return STEGO(
        model,
        Projector(width, 'relu', dropout, model.dtype),
        num_clusters,
        temperature,
        upsampling,
        cached,
        Term(own_weight, own_shift),
        Term(neighbour_weight, neighbour_shift),
        Term(others_weight, others_shift),
        points,
        other_images,
    )
