"""Autoregressive clustering (AC): two scans of one image should give the same clusters."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ar_seg_jax import orderings as scans
from ar_seg_jax import parallel
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Extra, Method, Metrics, Model, Outputs, Params
from ar_seg_jax.methods import clusters, void
from ar_seg_jax.methods.scans import Sampling, ScanningModel, Views, seen_by
from ar_seg_jax.methods.transformations import Kind
from ar_seg_jax.objectives import displacements, mutual_information, pooling
from ar_seg_jax.objectives.cluster_contrast import ClusterContrast
from ar_seg_jax.objectives.mutual_information import Assignment, InformationLoss, Mask

# For each head, the probabilities of both views at pixels; for the contrast also features and probabilities at cells.
Compared = dict[str, tuple[jax.Array, jax.Array]]

_MAIN, _AUXILIARY = 'decoder', 'auxiliary_decoder'
_FEATURES, _OF_CELLS = 'features', 'clusters_of_cells'


@dataclasses.dataclass(frozen=True)
class AC(Method):
    """Maximises the mutual information between the outputs of two random orderings (Ouali et al. 2020, Eqs. 1-6).

    model: its heads are a 'decoder' and, for overclustering, an 'auxiliary_decoder'; the loss is the sum of both heads' losses.
        IIC, which the idea is from, trains its two heads in alternating epochs.
    entropy_steps: steps over which the entropy weight goes from 1 to that of `information`; 0 has it from the start. Weights
        below 1 allow clusters of uneven size, but from the first step they collapse an untrained network.
    margin: pixels less than this far from a border of the image do not count in the loss, so that padding makes no cluster. Ours.
    regions: pixels of a superpixel on average; the scores of both views are averaged over superpixels before they are
        compared, as in InMARS, so that no thin cluster along edges can be sharp. 0 compares pixels, as the papers do.
    contrast: the weight of `cluster_contrast`, for which 0 is none.
    """

    title = 'AC'
    loss_in_words = 'minus the mutual information of two views in nats'

    model: Model | ScanningModel
    information: InformationLoss
    views: Views
    entropy_steps: int
    margin: int
    regions: int
    contrast: float
    cluster_contrast: ClusterContrast

    def __post_init__(self):
        if self.regions < 0:
            raise UserError(f'method.regions is a number of pixels, or 0 for no superpixels; found {self.regions}')
        if not 0 <= self.contrast < math.inf:
            raise UserError(f'method.contrast is a weight of at least 0, found {self.contrast}')
        if not 0 <= self.information.entropy_weight < math.inf:
            raise UserError(f'method.entropy_weight is a weight of at least 0, found {self.information.entropy_weight}')
        if self.entropy_steps < 0:
            raise UserError(f'method.entropy_steps is a number of steps, at least 0; found {self.entropy_steps}')

    @property
    def num_clusters(self) -> int:
        return self.model.heads[_MAIN]

    @property
    def region_size(self) -> int:
        return self.regions

    @property
    def reach(self) -> int | None:
        return self.views.reach(self.model)

    def check(self, image_shape, micro_batches):
        displacements.check(self.information.displacement, *image_shape[1:3])
        void.check_margin(self.margin, self.information.displacement, *image_shape[1:3])
        self.views.check(*image_shape[1:3], self.model.output_stride, micro_batches)

    def init(self, key, image):
        variables = self.model.init(key, self.views.input(self.model, image))
        return variables['params'], {'batch_stats': variables.get('batch_stats', {})}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0) -> tuple[Compared, Extra]:
        size = batch['image'].shape[1:3]

        def read(maps):
            heads = {head: nn.softmax(self.views.to_pixels(self.model, maps[head], *size)) for head in self.model.heads}
            if not self.contrast:
                return heads
            return {**heads, _FEATURES: maps['features'].astype(jnp.float32), _OF_CELLS: nn.softmax(maps[_MAIN])}

        information = self._information(time.step)

        def loss_of(first, second):
            return information(*parallel.whole(self._compared(first[_MAIN], second[_MAIN], batch)))[0]

        first, second, updated = self.views.outputs(
            self.model,
            {'params': params, **extra},
            batch['image'],
            read=read,
            loss_of=loss_of,
            key=key,
            part=part,
        )
        return {name: (first[name], second[name]) for name in first}, {'batch_stats': updated.get('batch_stats', {})}

    def objective(self, outputs: Compared, batch: Batch, *, time: Time) -> tuple[jax.Array, Metrics]:
        information = self._information(time.step)
        loss, metrics = information(*self._compared(*outputs[_MAIN], batch))
        if _AUXILIARY in outputs:
            even = dataclasses.replace(information, entropy_target=None)
            auxiliary_loss, auxiliary = even(*self._compared(*outputs[_AUXILIARY], batch))
            loss += auxiliary_loss
            metrics |= {f'auxiliary_{name}': value for name, value in auxiliary.items()}
        if self.contrast:
            contrast, metrics['contrast'] = self.cluster_contrast(
                outputs[_FEATURES], outputs[_OF_CELLS], self._counted_cells(outputs, batch)
            )
            loss += self.contrast * contrast
        return loss, metrics

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        maps = self.model.apply({'params': params, **extra}, self.views.input(self.model, image))
        logits = maps[_MAIN]
        scores = nn.softmax(self.to_pixels(logits, *image.shape[1:3]))
        return Outputs(scores=scores, features=maps['features'], logits=logits)

    def describe(self, metrics):
        return mutual_information.in_words(metrics)

    def _compared(self, first: Assignment, second: Assignment, batch: Batch) -> tuple[Assignment, Assignment, Mask | None]:
        """Scores as they are compared, and where; None: everywhere."""
        counted = void.inside(batch, self.margin)
        if self.regions:
            first, second = (pooling.over_regions(scores, batch['regions'], counted) for scores in (first, second))
        return first, second, counted

    def _counted_cells(self, outputs: Compared, batch: Batch) -> jax.Array:
        counted = void.inside(batch, self.margin)
        batch = batch if counted is None else {**batch, 'mask': counted}
        return void.at_cells(batch, *outputs[_OF_CELLS][0].shape[1:3], self.first_cell)

    def _information(self, step: jax.Array) -> InformationLoss:
        """The loss of a step."""
        if not self.entropy_steps:
            return self.information
        weight = 1 + (self.information.entropy_weight - 1) * jnp.minimum(step / self.entropy_steps, 1)
        return dataclasses.replace(self.information, entropy_weight=weight)


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    auxiliary_clusters: int,
    displacement: int,
    collapsed: bool,
    symmetric: bool,
    entropy_weight: float,
    entropy_steps: int,
    shares: Sequence[float],
    margin: int,
    regions: int,
    contrast: float,
    temperature: float,
    orderings: str,
    sampling: Sampling,
    candidates: int,
    transformations: Kind,
    sobel: bool,
    common_taps_only: bool,
) -> AC:
    """AC from the options of config.method; see `AC`, `InformationLoss`, `clusters.entropy_target` and `Views`.

    temperature: of the `ClusterContrast`.
    """
    clusters.check(num_clusters)
    clusters.check_auxiliary(auxiliary_clusters)
    heads = {_MAIN: num_clusters} | ({_AUXILIARY: auxiliary_clusters} if auxiliary_clusters else {})
    views = Views(scans.names(orderings), sampling, candidates, transformations, sobel, common_taps_only)
    return AC(
        seen_by(make_model(heads=heads), views),
        InformationLoss(displacement, collapsed, symmetric, entropy_weight, clusters.entropy_target(shares, num_clusters)),
        views,
        entropy_steps,
        margin,
        regions,
        contrast,
        ClusterContrast(temperature),
    )
