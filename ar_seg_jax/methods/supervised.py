"""Cross-entropy with the labels of people: what labels would give, and how good a start other methods are for it."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ar_seg_jax.augmentations import inputs
from ar_seg_jax.augmentations.changes import Change
from ar_seg_jax.augmentations.colours import Jitter
from ar_seg_jax.interfaces import BATCH_STATS, VOID, Batch, Extra, Method, Metrics, Model, Outputs, Params, Remark, counted
from ar_seg_jax.methods import clusters
from ar_seg_jax.objectives import labels

_HEAD = 'decoder'


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
    """Learns the classes of pixels from labels, which no other method here sees.

    The second claim of PiCIE is that what it learned is a better start for this (notes on Cho et al. 2021): a run begins with it
    where config.initial_weights name the run of another method, all but the head. The notes say no more; images are changed
    here as IIC changes its second view. Pixels without a label, and those that do not count, have no part in the loss.

    num_clusters: as many as the data has classes. Evaluation matches them like the clusters of other methods, with no advantage
    of their names.
    """

    title = 'Supervised'
    loss_in_words = 'the cross-entropy of the labels in nats'
    uses_labels = True

    model: Model
    num_clusters: int
    change: Change

    @property
    def reach(self) -> int | None:
        return self.model.reach

    def init(self, key, image):
        variables = self.model.init(key, self._input(image))
        return variables['params'], {BATCH_STATS: variables.get(BATCH_STATS, {})}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        change_key, dropout_key = jax.random.split(jax.random.fold_in(key, part))
        changed, move = self.change(inputs.to_unit(batch['image']), change_key)
        options = {'train': True, 'mutable': [BATCH_STATS], 'rngs': {'dropout': dropout_key}}
        maps, updated = self.model.apply({'params': params, **extra}, self.model.normalisation.apply(changed), **options)
        logits = move.undo(self.to_pixels(maps[_HEAD], *batch['image'].shape[1:3]))
        labelled = (batch['label'] != VOID) & counted(batch)
        classes = jnp.where(labelled, batch['label'], 0).astype(jnp.int32)
        outputs = {
            'cross_entropy': labels.cross_entropy(logits, classes, jnp.ones(self.num_clusters), labelled),
            'right': jnp.sum((jnp.argmax(logits, axis=-1) == classes) & labelled, (1, 2)),
        }
        return outputs, {**extra, BATCH_STATS: updated.get(BATCH_STATS, {})}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        found = outputs['cross_entropy']
        return found.mean(), {'right': outputs['right'].sum() / jnp.maximum(found.weights.sum(), 1)}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        maps = self.model.apply({'params': params, **extra}, self._input(image))
        scores = jax.nn.softmax(self.to_pixels(maps[_HEAD], *image.shape[1:3]))
        return Outputs(scores=scores, features=maps['features'], logits=maps[_HEAD])

    def describe(self, metrics) -> Remark:
        return Remark(f'{metrics["right"]:.1%} of labelled pixels right')

    def _input(self, image):
        return self.model.normalisation.apply(inputs.to_unit(image))


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    flip: float,
) -> Supervised:
    """From the options of config.method; see `Supervised`, `Jitter` and `Change`."""
    clusters.check(num_clusters)
    change = Change(Jitter(brightness, contrast, saturation, hue, order='random'), flip)
    return Supervised(make_model(heads={_HEAD: num_clusters}), num_clusters, change)
