"""Autoregressive representation learning (ARL): two scans of one image should give similar features."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ar_seg_jax import orderings as scans
from ar_seg_jax import parallel
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Extra, Method, Metrics, Model, Outputs, Params, Remark
from ar_seg_jax.methods import clusters, readout, void
from ar_seg_jax.methods.scans import Sampling, ScanningModel, Views, seen_by
from ar_seg_jax.methods.transformations import Kind
from ar_seg_jax.models.critics import SeparableCritics
from ar_seg_jax.objectives import clustering, displacements
from ar_seg_jax.objectives.info_nce import ContrastiveLoss, KeyMask, Keys, Maps, Mask

Compared = tuple[Maps, Maps, Keys, Mask, KeyMask]

_HEAD = 'decoder'


@dataclasses.dataclass(frozen=True)
class ARL(Method):
    """Maximises InfoNCE between the outputs of two random orderings (Ouali et al. 2020, supplement Eq. 7 and Table 3).

    model: its head 'decoder', at the resolution of the features, is what is learned. The papers leave the width C of that open.
    critics: see `models.critics`.
    num_clusters: what is learned is clustered by k-means for evaluation; again the papers do not say how.
    negatives: places drawn from every image, at each step, as keys; 0 takes all places.
    """

    title = 'ARL'
    loss_in_words = 'minus a bound on the mutual information of two views in nats'

    model: Model | ScanningModel
    critics: nn.Module
    contrast: ContrastiveLoss
    num_clusters: int
    views: Views
    negatives: int

    def __post_init__(self):
        if self.negatives < 0:
            raise UserError(f'method.negatives is at least 0, which takes all places; found {self.negatives}')

    @property
    def reach(self) -> int | None:
        return self.views.reach(self.model)

    def check(self, image_shape, micro_batches):
        stride = self.model.output_stride
        displacements.check(self.contrast.displacement, *(-(-side // stride) for side in image_shape[1:3]))
        self.views.check(*image_shape[1:3], stride, micro_batches)

    def init(self, key, image):
        network = self.model.init(key, self.views.input(self.model, image))
        width = self.model.heads[_HEAD]
        blank = jnp.zeros((1, 1, 1, width))
        critics = self.critics.init(jax.random.fold_in(key, 1), blank, blank)
        params = {'network': network['params'], 'critics': critics['params']}
        statistics = {'network': network.get('batch_stats', {}), 'critics': critics['batch_stats']}
        return params, {'batch_stats': statistics, 'centroids': jnp.zeros((self.num_clusters, width))}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0) -> tuple[Compared, Extra]:
        frozen = jax.lax.stop_gradient(params)

        def loss_of(first, second):
            maps, _ = self._compare(frozen, extra, first, second)
            return self.contrast(*parallel.whole(self._with_keys(*maps, batch, key, part)))[0]

        first, second, updated = self.views.outputs(
            self.model,
            self._network(params, extra),
            batch['image'],
            read=lambda maps: {_HEAD: maps[_HEAD]},
            loss_of=loss_of,
            key=key,
            part=part,
        )
        maps, critics = self._compare(params, extra, first, second)
        statistics = {'network': updated.get('batch_stats', {}), 'critics': critics['batch_stats']}
        return self._with_keys(*maps, batch, key, part), {**extra, 'batch_stats': statistics}

    def objective(self, outputs: Compared, batch: Batch, *, time: Time) -> tuple[jax.Array, Metrics]:
        return self.contrast(*outputs)

    def readout(self, params: Params, extra: Extra, batches, *, key) -> Extra:
        return readout.by_k_means(self, params, extra, batches, key=key)

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        maps = self.model.apply(self._network(params, extra), self.views.input(self.model, image))
        nearness = clustering.nearness(extra['centroids'], maps[_HEAD])  # linear in the maps, so interpolation may follow
        scores = nn.softmax(self.to_pixels(nearness, *image.shape[1:3]))
        return Outputs(scores=scores, features=maps['features'], logits=maps[_HEAD])

    def describe(self, metrics):
        information, bound = metrics['mutual_information'], metrics['mutual_information_bound']
        return Remark(f'MI {information:.4f} of at most {bound:.4f} nats')

    def _network(self, params: Params, extra: Extra):
        return {'params': params['network'], 'batch_stats': extra['batch_stats']['network']}

    def _compare(self, params: Params, extra: Extra, first, second):
        variables = {'params': params['critics'], 'batch_stats': extra['batch_stats']['critics']}
        return self.critics.apply(variables, first[_HEAD], second[_HEAD], train=True, mutable=['batch_stats'])

    def _with_keys(self, anchors: Maps, positives: Maps, batch: Batch, key, part) -> Compared:
        images, height, width, depth = positives.shape
        places = height * width
        mask = void.at_cells(batch, height, width, self.first_cell)
        keys, key_mask = positives.reshape(images, places, depth), mask.reshape(images, places)
        if 0 < self.negatives < places:
            key = jax.random.fold_in(jax.random.fold_in(key, 3), part)
            drawn = jax.vmap(lambda key: jax.random.choice(key, places, (self.negatives,), replace=False))(
                parallel.keys(key, images)
            )
            keys = jnp.take_along_axis(keys, drawn[..., None], axis=1)
            key_mask = jnp.take_along_axis(key_mask, drawn, axis=1)
        return anchors, positives, keys, mask, key_mask


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    width: int,
    displacement: int,
    temperature: float,
    negatives: int,
    orderings: str,
    sampling: Sampling,
    candidates: int,
    transformations: Kind,
    sobel: bool,
    common_taps_only: bool,
) -> ARL:
    """ARL from the options of config.method; see `ARL`, `ContrastiveLoss` and `Views`. width: channels of what is learned."""
    clusters.check(num_clusters)
    if not 2 <= width <= 4096:
        raise UserError(f'method.width is 2 to 4096, found {width}')
    views = Views(scans.names(orderings), sampling, candidates, transformations, sobel, common_taps_only)
    model = seen_by(make_model(heads={_HEAD: width}), views)
    return ARL(
        model,
        SeparableCritics(model.dtype),
        ContrastiveLoss(displacement, temperature),
        num_clusters,
        views,
        negatives,
    )
