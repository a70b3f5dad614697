"""Context prediction: in which direction one patch lies from the other (Doersch et al. 2015, as IIC adapted it)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ar_seg_jax import parallel
from ar_seg_jax.augmentations import colours, inputs
from ar_seg_jax.augmentations.changes import Change
from ar_seg_jax.augmentations.colours import Jitter
from ar_seg_jax.epochs import Cadence
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Model, counted
from ar_seg_jax.methods import clusters, patch_places
from ar_seg_jax.methods.patch_pairs import Locations, PatchPairs, Told
from ar_seg_jax.models import patch_comparator
from ar_seg_jax.models.patch_comparator import PatchComparator

_COLOURS = 3  # channels R, G, B, of which two are dropped


@dataclasses.dataclass(frozen=True)
class Doersch(PatchPairs):
    """Classifies the direction of the second patch, at a distance of 1.5 to 2 patches, as IIC's released code does.

    directions: 9 as in IIC's code: multiples of 45 degrees, of which the last is the first again, so that one pair in about
        nine cannot be told. 8 as in the paper, each of them once.
    colour_dropping: in training, one of the colours R, G, B of each image is kept and the others become noise, with the mean
        and a hundredth of the deviation of the one that is kept over the data set, see `colours.drop`. Grey and its gradients
        are those of the image before, infrared stays, both as in IIC's code.

    Means and deviations of colours are those of a first pass over the training images, of pixels that count, without jitter.
    IIC's code has constants of its data sets; a pass makes them those of any.
    """

    title = 'Doersch'
    loss_in_words = 'cross-entropy of the direction from one patch to the other in nats'

    directions: int
    colour_dropping: bool

    @property
    def chance(self) -> float:
        return 1 / self.directions

    @property
    def refresh_when(self) -> Cadence | None:
        return Cadence(0) if self.colour_dropping else None

    def init(self, key, image):
        params, extra = super().init(key, image)
        if self.colour_dropping:
            extra['colours'] = {'mean': jnp.zeros(_COLOURS), 'deviation': jnp.zeros(_COLOURS)}
        return params, extra

    def refresh(self, params, extra, batches, *, key, time):
        found = [jax.device_get(_moments(batch)) for batch in batches]
        counts, means, squares = (np.array(values, np.float64) for values in zip(*found, strict=True))
        mean, square = counts @ means / max(counts.sum(), 1), counts @ squares / max(counts.sum(), 1)
        statistics = {'mean': mean, 'deviation': np.sqrt(np.maximum(square - mean**2, 0))}
        before = extra['colours']
        placed = {name: jax.device_put(np.float32(value), before[name].sharding) for name, value in statistics.items()}
        return params, {**extra, 'colours': placed}

    def shown(self, key, extra, image):
        if not self.colour_dropping:
            return image
        return colours.drop(parallel.keys(key, len(image)), image, **extra['colours'])

    def propose(self, pair_key, key, size):
        distance_key, direction_key = jax.random.split(key)
        distance = jax.random.uniform(distance_key, minval=1.5 * self.patch, maxval=2 * self.patch)
        direction = jax.random.randint(direction_key, (), 0, self.directions)
        return patch_places.turned(distance, direction * jnp.pi / 4), direction

    def losses(self, told: Told):
        losses = optax.softmax_cross_entropy_with_integer_labels(told.logits, told.label)
        return losses, told.logits.argmax(axis=-1) == told.label


@jax.jit
def _moments(batch: Batch) -> tuple[Int[Array, ''], Float[Array, '3'], Float[Array, '3']]:
    """How many pixels of a batch count, and the means of their colours in [0, 1] and of the squares of these."""
    image = inputs.to_unit(batch['image'][..., :_COLOURS])
    mask = jnp.asarray(counted(batch))[..., None]
    count = mask.sum()

    def mean(values):
        return jnp.where(mask, values, 0).sum(axis=(0, 1, 2)) / jnp.maximum(count, 1)

    return count, mean(image), mean(jnp.square(image))


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    patch: int,
    locations: Locations,
    comparator: patch_comparator.Kind,
    comparator_width: int,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    flip: float,
    sobel: bool,
    directions: int,
    colour_dropping: bool,
) -> Doersch:
    """From the options of config.method; see `Doersch`, `PatchPairs`, `PatchComparator` (`comparator` is its kind), `Change`
    and `Jitter`.
    """
    clusters.check(num_clusters)
    if directions not in (8, 9):
        raise UserError(f'method.directions is 8, or 9 as in the code of IIC; found {directions}')
    model = make_model(heads={})
    compare = PatchComparator(directions, comparator, comparator_width, model.dtype)
    change = Change(Jitter(brightness, contrast, saturation, hue, order='random'), flip)
    return Doersch(model, compare, num_clusters, patch, locations, change, sobel, directions, colour_dropping)
