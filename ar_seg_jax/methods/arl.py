"""Autoregressive representation learning (ARL): two scans of one image should give similar features."""

import dataclasses
import functools
from collections.abc import Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ar_seg_jax import clustering, layers
from ar_seg_jax.interfaces import Batch, Extra, Metrics, Outputs, Params
from ar_seg_jax.methods.views import Views
from ar_seg_jax.objectives.info_nce import ContrastiveLoss, Keys, Maps

Compared = tuple[Maps, Maps, Keys]

_VECTORS = 50_000  # features that k-means sees


@dataclasses.dataclass(frozen=True)
class ARL:
    """Maximises InfoNCE between the outputs of two random orderings (Ouali et al. 2020, supplement Eq. 7 and Table 3).

    model: takes images in [0, 1] and a sequence of orderings; the output of its decoder, at the resolution of the features,
        is what is learned. The papers leave the width C of that open.
    critics: see `models.critics`.
    num_clusters: the features are clustered by k-means for evaluation; again the papers do not say how.
    negatives: places drawn from every image, at each step, as keys; 0 takes all places.
    """

    model: nn.Module
    critics: nn.Module
    contrast: ContrastiveLoss
    num_clusters: int
    views: Views = dataclasses.field(default_factory=Views)
    negatives: int = 0

    def __post_init__(self):
        if self.negatives < 0:
            raise ValueError(f'arl.negatives is at least 0, which takes all places; found {self.negatives}')

    def init(self, key, image):
        network = self.model.init(key, self.views.input(image))
        width = self.model.num_clusters
        blank = jnp.zeros((1, 1, 1, width))
        critics = self.critics.init(jax.random.fold_in(key, 1), blank, blank)
        params = {'network': network['params'], 'critics': critics['params']}
        statistics = {'network': network.get('batch_stats', {}), 'critics': critics['batch_stats']}
        return params, {'batch_stats': statistics, 'centroids': jnp.zeros((self.num_clusters, width))}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, part=0) -> tuple[Compared, Extra]:
        def hardness(first, second):
            (anchors, positives), _ = self._compare(params, extra, first, second)
            return self._loss(anchors, positives, self._keys(positives, key, part))[0]

        network = self._network(params, extra)
        first, second, updated = self.views.outputs(self.model, network, batch['image'], hardness, key=key, part=part)
        (anchors, positives), critics = self._compare(params, extra, first, second)
        statistics = {'network': updated.get('batch_stats', {}), 'critics': critics['batch_stats']}
        return (anchors, positives, self._keys(positives, key, part)), {**extra, 'batch_stats': statistics}

    def objective(self, outputs: Compared, batch: Batch, *, step) -> tuple[jax.Array, Metrics]:
        return self._loss(*outputs)

    def refresh(self, params: Params, extra: Extra, batches: Iterable[Batch], *, key) -> Extra:
        """Centroids by k-means, a few starts, of the outputs of the unmasked network at places drawn from the batches."""
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        maps = (np.asarray(_logits(self, params, extra, batch['image'])) for batch in batches)
        found = [each.reshape(-1, self.model.num_clusters) for each in maps]
        share = -(-_VECTORS // len(found))
        drawn = np.concatenate([rng.choice(each, min(share, len(each)), replace=False) for each in found])
        centroids = clustering.find_centroids(drawn, self.num_clusters, int(rng.integers(2**31)))
        return {**extra, 'centroids': jax.device_put(centroids, extra['centroids'].sharding)}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        """Each pixel's scores are highest for the centroid nearest to its interpolated features."""
        outputs = self._features(params, extra, image)
        centroids = extra['centroids']
        # |y - c|^2 without |y|^2, which is the same for all c; linear in y, so interpolation may follow.
        products = jnp.matmul(outputs['logits'], centroids.T, precision='highest')
        nearness = 2 * products - jnp.sum(centroids**2, axis=1)[None, None, None]
        scores = nn.softmax(layers.upsample(nearness, self.model.output_stride, *image.shape[1:3]))
        return {**outputs, 'scores': scores}

    def _network(self, params: Params, extra: Extra):
        return {'params': params['network'], 'batch_stats': extra['batch_stats']['network']}

    def _features(self, params: Params, extra: Extra, image) -> Outputs:
        (outputs,) = self.model.apply(self._network(params, extra), self.views.input(image))
        return outputs

    def _compare(self, params: Params, extra: Extra, first, second):
        variables = {'params': params['critics'], 'batch_stats': extra['batch_stats']['critics']}
        return self.critics.apply(variables, first['logits'], second['logits'], train=True, mutable=['batch_stats'])

    def _keys(self, positives: Maps, key, part) -> Float[Array, 'batch drawn depth']:
        batch, height, width, depth = positives.shape
        places = positives.reshape(batch, height * width, depth)
        if not 0 < self.negatives < height * width:
            return places
        drawn_key = jax.random.fold_in(jax.random.fold_in(key, 3), part)
        drawn = jax.vmap(lambda key: jax.random.choice(key, height * width, (self.negatives,), replace=False))(
            jax.random.split(drawn_key, batch)
        )
        return jnp.take_along_axis(places, drawn[..., None], axis=1)

    def _loss(self, anchors: Maps, positives: Maps, keys: Keys):
        return self.contrast(anchors, positives, keys, anchors.shape[1] * anchors.shape[2])


@functools.partial(jax.jit, static_argnums=0)
def _logits(method: ARL, params: Params, extra: Extra, image):
    """Compiled once for all refreshes."""
    return method._features(params, extra, image)['logits']
