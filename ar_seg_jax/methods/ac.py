"""Autoregressive clustering (AC): two scans of one image should give the same clusters."""

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ar_seg_jax import orderings as scans
from ar_seg_jax import parallel
from ar_seg_jax.interfaces import Batch, Extra, Method, Metrics, Model, Outputs, Params, Time
from ar_seg_jax.methods import clusters, void
from ar_seg_jax.methods.scans import Sampling, ScanningModel, Views, scanning
from ar_seg_jax.methods.transformations import Kind
from ar_seg_jax.objectives import displacements, mutual_information
from ar_seg_jax.objectives.mutual_information import Assignment, InformationLoss

Heads = dict[str, tuple[Assignment, Assignment]]  # the two views' clusters by each head

_MAIN, _AUXILIARY = 'decoder', 'auxiliary_decoder'


@dataclasses.dataclass(frozen=True)
class AC(Method):
    """Maximises the mutual information between the outputs of two random orderings (Ouali et al. 2020, Eqs. 1-6).

    model: its heads are a 'decoder' and, for overclustering, an 'auxiliary_decoder'; the loss is the sum of both heads' losses.
        IIC, which the idea is from, trains its two heads in alternating epochs.
    entropy_steps: steps over which the entropy weight goes from 1 to that of `information`; 0 has it from the start. Weights
        below 1 allow clusters of uneven size, but from the first step they collapse an untrained network.
    margin: pixels less than this far from a border of the image do not count in the loss, so that padding makes no cluster. Ours.
    """

    title = 'AC'
    loss_in_words = 'minus the mutual information of two views in nats'

    model: ScanningModel
    information: InformationLoss
    views: Views
    entropy_steps: int
    margin: int

    @property
    def num_clusters(self) -> int:
        return self.model.heads[_MAIN]

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

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0) -> tuple[Heads, Extra]:
        size = batch['image'].shape[1:3]
        first, second, updated = self.views.outputs(
            self.model,
            {'params': params, **extra},
            batch['image'],
            read=lambda maps: {
                head: nn.softmax(self.model.to_pixels(maps[head], *size, scanned=True)) for head in self.model.heads
            },
            loss_of=lambda first, second: self.information(
                *parallel.whole((first[_MAIN], second[_MAIN], void.inside(batch, self.margin)))
            )[0],
            key=key,
            part=part,
        )
        return {head: (first[head], second[head]) for head in first}, {'batch_stats': updated.get('batch_stats', {})}

    def objective(self, outputs: Heads, batch: Batch, *, time: Time) -> tuple[jax.Array, Metrics]:
        information = dataclasses.replace(self.information, entropy_weight=self._entropy_weight(time.step))
        counted = void.inside(batch, self.margin)
        loss, metrics = information(*outputs[_MAIN], counted)
        if _AUXILIARY in outputs:
            even = dataclasses.replace(information, entropy_target=None)
            auxiliary_loss, auxiliary = even(*outputs[_AUXILIARY], counted)
            loss += auxiliary_loss
            metrics |= {f'auxiliary_{name}': value for name, value in auxiliary.items()}
        return loss, metrics

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        maps = self.model.apply({'params': params, **extra}, self.views.input(self.model, image))
        logits = maps[_MAIN]
        scores = nn.softmax(self.to_pixels(logits, *image.shape[1:3]))
        return Outputs(scores=scores, features=maps['features'], logits=logits)

    def describe(self, metrics):
        return mutual_information.in_words(metrics)

    def _entropy_weight(self, step):
        final = self.information.entropy_weight
        return 1 + (final - 1) * jnp.minimum(step / self.entropy_steps, 1) if self.entropy_steps else final


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
    orderings: str,
    sampling: Sampling,
    candidates: int,
    transformations: Kind,
    sobel: bool,
    common_taps_only: bool,
) -> AC:
    """AC from the options of config.method; see `AC`, `InformationLoss`, `clusters.entropy_target` and `Views`."""
    clusters.check(num_clusters)
    clusters.check_auxiliary(auxiliary_clusters)
    heads = {_MAIN: num_clusters} | ({_AUXILIARY: auxiliary_clusters} if auxiliary_clusters else {})
    return AC(
        scanning(make_model(heads=heads)),
        InformationLoss(displacement, collapsed, symmetric, entropy_weight, clusters.entropy_target(shares, num_clusters)),
        Views(scans.names(orderings), sampling, candidates, transformations, sobel, common_taps_only),
        entropy_steps,
        margin,
    )
