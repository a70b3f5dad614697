"""Co-occurrence: whether two patches are beside one another (Isola et al. 2016, as IIC adapted it)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ar_seg_jax.augmentations.changes import Change
from ar_seg_jax.augmentations.colours import Jitter
from ar_seg_jax.interfaces import Model
from ar_seg_jax.methods import clusters, patch_places
from ar_seg_jax.methods.patch_pairs import Locations, PatchPairs, Told
from ar_seg_jax.models import patch_comparator
from ar_seg_jax.models.patch_comparator import PatchComparator


@dataclasses.dataclass(frozen=True)
class Isola(PatchPairs):
    """Tells neighbours from patches farther away, as IIC's released code does.

    Half of the pairs are neighbours, label 1: the second patch touches a corner of the first. Of the others, label 0, it is at a
    distance of two patches to the side of the image, in any direction; a try that ends outside is repeated for the same label.
    """

    title = 'Isola'
    loss_in_words = 'cross-entropy of whether two patches are neighbours in nats'
    chance = 0.5

    def propose(self, pair_key, key, size):
        kind_key, corner_key = jax.random.split(pair_key)
        distance_key, angle_key = jax.random.split(key)
        distance = jax.random.uniform(distance_key, minval=2 * self.patch, maxval=max(size))
        afar = patch_places.turned(distance, jax.random.uniform(angle_key, maxval=2 * jnp.pi))
        corner = self.patch * jax.random.rademacher(corner_key, (2,), jnp.float32)
        label = jax.random.bernoulli(kind_key).astype(jnp.int32)
        return jnp.where(label == 1, corner, afar), label

    def losses(self, told: Told):
        logits = told.logits[:, 0]
        return optax.sigmoid_binary_cross_entropy(logits, told.label), (logits > 0) == (told.label == 1)


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
) -> Isola:
    """From the options of config.method; see `Isola`, `PatchPairs`, `PatchComparator` (`comparator` is its kind), `Change`
    and `Jitter`.
    """
    clusters.check(num_clusters)
    model = make_model(heads={})
    compare = PatchComparator(1, comparator, comparator_width, model.dtype)
    change = Change(Jitter(brightness, contrast, saturation, hue, order='random'), flip)
    return Isola(model, compare, num_clusters, patch, locations, change, sobel)
