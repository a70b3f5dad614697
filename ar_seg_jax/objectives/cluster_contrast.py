"""Contrast of the places of one view with the clusters of the other: an adaptation of InfoSeg (Harb and Knoebelreiter 2021)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ar_seg_jax.errors import UserError
from ar_seg_jax.objectives import clustering

Maps = Float[Array, 'batch height width depth']
Assignment = Float[Array, 'batch height width clusters']  # probabilities of the clusters at each place
Mask = Bool[Array, 'batch height width']  # True where a place counts


@dataclasses.dataclass(frozen=True)
class ClusterContrast:
    """InfoNCE of places with clusters. The features of one view, pooled by its soft clusters, are a vector for each cluster; the
    features of the other view should be like that of the cluster that their place belongs to there, and unlike the others.

    temperature: cosines are divided by it.

    InfoSeg, whose program is not published, maximises the information between local features of an image and features of the
    whole image, one for each class. What is ours: the vectors are of all images of the batch, so that the K clusters are all that
    there is to choose from, and mean the same in all images; they are of the other view; a place belongs to clusters as softly as
    it is assigned to them; both views take both parts; the bound is InfoNCE, of cosines without critics; and all is one step,
    with gradients through features, assignments and vectors, where InfoSeg alternates between two.
    """

    temperature: float

    def __post_init__(self):
        if not self.temperature > 0:
            raise UserError(f'method.temperature is above 0, found {self.temperature}')

    def __call__(
        self, features: tuple[Maps, Maps], clusters: tuple[Assignment, Assignment], mask: Mask
    ) -> tuple[Float[Array, ''], Float[Array, '']]:
        """The loss, and the bound on information that it is minus of, at most log K: both are means over the places that count,
        in nats."""
        vectors = [_pooled(*view, mask) for view in zip(features, clusters, strict=True)]
        one = self._cross_entropy(features[1], clusters[1], vectors[0], mask)
        other = self._cross_entropy(features[0], clusters[0], vectors[1], mask)
        loss = (one + other) / 2
        return loss, jnp.log(float(clusters[0].shape[-1])) - loss

    def _cross_entropy(
        self, features: Maps, clusters: Assignment, vectors: Float[Array, 'clusters depth'], mask: Mask
    ) -> Float[Array, '']:
        likely = jax.nn.log_softmax(clustering.products(vectors, clustering.unit(features)) / self.temperature)
        each = -jnp.sum(clusters * likely, axis=-1)
        return jnp.sum(each * mask) / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1)


def _pooled(features: Maps, clusters: Assignment, mask: Mask) -> Float[Array, 'clusters depth']:
    """The direction of the mean of the features of each cluster, over the whole batch."""
    return clustering.unit(jnp.einsum('bhwk,bhwd->kd', clusters * mask[..., None], features, precision='highest'))
