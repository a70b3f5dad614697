"""Autoregressive clustering (AC): two scans of one image should give the same clusters."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ar_seg_jax.interfaces import VOID, Batch, Extra, Metrics, Outputs, Params, no_refresh
from ar_seg_jax.methods.views import Views
from ar_seg_jax.objectives.mutual_information import InformationLoss, Scores

Heads = dict[str, tuple[Scores, Scores]]  # the two views' scores of each head


@dataclasses.dataclass(frozen=True)
class AC:
    """Maximises the mutual information between the outputs of two random orderings (Ouali et al. 2020, Eqs. 1-6).

    model: takes images in [0, 1] and a sequence of orderings. Where it has an auxiliary head (overclustering), the loss is
        the sum of both heads' losses; IIC, which the idea is from, trains its two heads in alternating epochs.
    entropy_steps: steps over which the entropy weight goes from 1 to that of `information`; 0 has it from the start. Weights
        below 1 allow clusters of uneven size, but from the first step they collapse an untrained network.
    mask_void: leave pixels labelled VOID out of the loss. IIC's protocol on COCO-Stuff, where pixels outside the classes
        of interest are no part of the task; it uses the labels' outline, so it is off where nothing says so.
    """

    model: nn.Module
    information: InformationLoss
    views: Views = dataclasses.field(default_factory=Views)
    entropy_steps: int = 0
    mask_void: bool = False

    @property
    def num_clusters(self) -> int:
        return self.model.num_clusters

    def init(self, key, image):
        variables = self.model.init(key, self.views.input(image))
        return variables['params'], {'batch_stats': variables.get('batch_stats', {})}

    def forward(
        self, params: Params, extra: Extra, batch: Batch, *, key, part=0
    ) -> tuple[dict[str, tuple[Scores, Scores]], Extra]:
        def hardness(first, second):
            return self.information(first['scores'], second['scores'], self._mask(batch))[0]

        variables = {'params': params, **extra}
        first, second, updated = self.views.outputs(self.model, variables, batch['image'], hardness, key=key, part=part)
        heads = {name: (first[name], second[name]) for name in ('scores', 'auxiliary_scores') if name in first}
        return heads, {'batch_stats': updated.get('batch_stats', {})}

    def objective(self, outputs: Heads, batch: Batch, *, step) -> tuple[jax.Array, Metrics]:
        information = dataclasses.replace(self.information, entropy_weight=self._entropy_weight(step))
        loss, metrics = information(*outputs['scores'], self._mask(batch))
        if 'auxiliary_scores' in outputs:
            auxiliary_loss, auxiliary = information(*outputs['auxiliary_scores'], self._mask(batch))
            loss += auxiliary_loss
            metrics |= {f'auxiliary_{name}': value for name, value in auxiliary.items()}
        return loss, metrics

    refresh = no_refresh

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        (outputs,) = self.model.apply({'params': params, **extra}, self.views.input(image))
        return outputs

    def _entropy_weight(self, step):
        final = self.information.entropy_weight
        return 1 + (final - 1) * jnp.minimum(step / self.entropy_steps, 1) if self.entropy_steps else final

    def _mask(self, batch: Batch):
        return (batch['label'] != VOID).astype(jnp.float32) if self.mask_void else None
