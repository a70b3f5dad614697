"""Invariant information clustering (IIC): an image and a changed one should have the same clusters."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax.augmentations import inputs
from ar_seg_jax.augmentations.changes import Change
from ar_seg_jax.augmentations.colours import Jitter
from ar_seg_jax.augmentations.geometry import Affine
from ar_seg_jax.epochs import Time
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Method, Metrics, Model, Outputs, Params, Remark
from ar_seg_jax.methods import clusters, void
from ar_seg_jax.objectives import displacements, mutual_information
from ar_seg_jax.objectives.mutual_information import Assignment, InformationLoss

Heads = dict[str, tuple[Assignment, Assignment]]  # the clusters of both views by each head, where things are in the first

_MAIN, _AUXILIARY = 'decoder', 'auxiliary_decoder'
_AUXILIARY_METRIC = 'auxiliary_'
_CHOSEN = 'sub_head'


@dataclasses.dataclass(frozen=True)
class IIC(Method):
    """Maximises the mutual information between the clusters of an image and of a changed copy (Ji et al. 2019, section 3.3).

    The first view is not changed. Each has a forward pass of its own, so that batch norm takes its own statistics. Scores are
    interpolated from cells to pixels after the softmax, where AC interpolates logits. Pixels that the change moved out of the
    image count in neither view, as if they were void.

    main, auxiliary: the objective of each head; None for the form with one head, which is scored many-to-one.
    sub_heads: copies of each head with other first weights, whose losses are averaged. IIC predicts with the one of the highest
        accuracy. That takes labels; here it is the one of the lowest loss on some training batches.
    alternate: train the heads in alternating passes over the training split, the auxiliary one first, as the published runs did.
        The released code calls two passes an epoch, one of each head. Its steps and their order are those of here. The gradient
        of the idle head is zero, and only its metrics are computed. Adam's momentum moves it on all the same, as in IIC, unless
        `optimizer.keep_unused` is set. Without `alternate` every step trains both heads.
    sobel: append horizontal and vertical Sobel gradients of the grey image, after all changes, as IIC does on COCO-Stuff.
    margin: see `AC`.
    """

    title = 'IIC'
    loss_in_words = 'minus the mutual information of an image and a changed one in nats'

    model: Model
    num_clusters: int
    main: InformationLoss
    auxiliary: InformationLoss | None
    sub_heads: int
    alternate: bool
    change: Change
    sobel: bool
    margin: int

    @property
    def reach(self) -> int | None:
        return None if self.model.reach is None else self.model.reach + self.sobel

    def check(self, image_shape, micro_batches):
        displacements.check(self.main.displacement, *image_shape[1:3])
        void.check_margin(self.margin, self.main.displacement, *image_shape[1:3])

    def init(self, key, image):
        variables = self.model.init(key, self._input(inputs.to_unit(image)))
        chosen = {_CHOSEN: jnp.int32(0)} if self.sub_heads > 1 else {}
        return variables['params'], {BATCH_STATS: variables.get(BATCH_STATS, {}), **chosen}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0) -> tuple[Heads, Extra]:
        size = batch['image'].shape[1:3]
        image = inputs.to_unit(batch['image'])
        change_key, *dropout_keys = jax.random.split(jax.random.fold_in(key, part), 3)
        changed, move = self.change(image, change_key)
        statistics, views = extra[BATCH_STATS], []
        for view, dropout_key in zip((image, changed), dropout_keys, strict=True):
            variables, options = {'params': params, BATCH_STATS: statistics}, {'train': True, 'mutable': [BATCH_STATS]}
            maps, updated = self.model.apply(variables, self._input(view), rngs={'dropout': dropout_key}, **options)
            statistics = updated.get(BATCH_STATS, {})
            views.append({head: self.model.to_pixels(nn.softmax(maps[head]), *size) for head in self.model.heads})
        first, second = views
        shown = move.undo(jnp.ones((*image.shape[:3], 1)))  # by the second view too
        return {head: (first[head] * shown, move.undo(second[head])) for head in first}, {**extra, BATCH_STATS: statistics}

    def objective(self, outputs: Heads, batch: Batch, *, time: Time) -> tuple[jax.Array, Metrics]:
        def main(outputs: Heads):
            losses, metrics = self._of_sub_heads(_MAIN, self.main, outputs, batch)
            return losses.mean(), metrics

        def auxiliary(outputs: Heads):
            losses, metrics = self._of_sub_heads(_AUXILIARY, self.auxiliary, outputs, batch)
            return losses.mean(), {f'{_AUXILIARY_METRIC}{name}': value for name, value in metrics.items()}

        def training(trained, idle):
            def of_one(outputs: Heads):
                loss, metrics = trained(outputs)
                return loss, metrics | idle(jax.lax.stop_gradient(outputs))[1]

            return of_one

        if self.auxiliary is None:
            return main(outputs)
        if self.alternate:
            return jax.lax.cond(time.epoch % 2 == 0, training(auxiliary, main), training(main, auxiliary), outputs)
        (loss, metrics), (auxiliary_loss, auxiliary_metrics) = main(outputs), auxiliary(outputs)
        return loss + auxiliary_loss, metrics | auxiliary_metrics

    def readout(self, params, extra, batches, *, key):
        if self.sub_heads == 1:
            return extra
        losses = [self._sub_losses(params, extra, batch, jax.random.fold_in(key, n)) for n, batch in enumerate(batches)]
        return {**extra, _CHOSEN: jnp.argmin(sum(losses)).astype(jnp.int32)}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        variables = {'params': params, BATCH_STATS: extra[BATCH_STATS]}
        maps = self.model.apply(variables, self._input(inputs.to_unit(image)))
        logits = jnp.stack([maps[head] for head in self._heads(_MAIN)])[extra.get(_CHOSEN, 0)]
        scores = self.to_pixels(nn.softmax(logits), *image.shape[1:3])
        return Outputs(scores=scores, features=maps['features'], logits=logits)

    def describe(self, metrics) -> Remark:
        remark = mutual_information.in_words(metrics)
        if self.auxiliary is None:
            return remark
        names = ('mutual_information', 'mutual_information_bound')
        information, bound = (metrics[f'{_AUXILIARY_METRIC}{name}'] for name in names)
        return Remark(f'{remark.words}  auxiliary MI {information:.4f} of {bound:.4f}', remark.warning)

    def _heads(self, name: str) -> list[str]:
        return [f'{name}_{number}' for number in range(self.sub_heads)]

    def _of_sub_heads(self, name: str, information: InformationLoss, outputs: Heads, batch: Batch):
        """The loss of each of them, and the mean of each metric."""
        counted = void.inside(batch, self.margin)
        found = [information(*outputs[head], counted) for head in self._heads(name)]
        metrics = jax.tree.map(lambda *values: jnp.stack(values).mean(), *(metrics for _, metrics in found))
        return jnp.stack([loss for loss, _ in found]), metrics

    @functools.partial(jax.jit, static_argnums=0)
    def _sub_losses(self, params, extra, batch, key):
        outputs, _ = self.forward(params, extra, batch, key=key, time=None)
        return self._of_sub_heads(_MAIN, self.main, outputs, batch)[0]

    def _input(self, image: inputs.Images) -> Float[Array, 'batch height width inputs']:
        seen = self.model.normalisation.apply(image)
        return inputs.append_sobel(seen, image) if self.sobel else seen


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    auxiliary_clusters: int,
    sub_heads: int,
    alternate: bool,
    displacement: int,
    collapsed: bool,
    symmetric: bool,
    entropy_weight: float,
    auxiliary_entropy_weight: float,
    shares: Sequence[float],
    margin: int,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    flip: float,
    rotation: float,
    shear: float,
    scale: float,
    sobel: bool,
) -> IIC:
    """IIC from the options of config.method; see `IIC`, `InformationLoss`, `Jitter` and `Affine`.

    auxiliary_clusters: of the over-clustering head; 0 for none. scale: factors are from 1 - scale to 1 + scale.
    """
    clusters.check(num_clusters)
    clusters.check_auxiliary(auxiliary_clusters)
    if not 1 <= sub_heads <= 100:
        raise UserError(f'method.sub_heads is 1 to 100, found {sub_heads}')
    if not 0 <= scale < 1:
        raise UserError(f'method.scale is at least 0 and less than 1, found {scale}')
    widths = {_MAIN: num_clusters} | ({_AUXILIARY: auxiliary_clusters} if auxiliary_clusters else {})
    heads = {f'{name}_{number}': width for name, width in widths.items() for number in range(sub_heads)}
    affine = Affine(rotation, shear, (1 - scale, 1 + scale)) if rotation or shear or scale else None
    form = functools.partial(InformationLoss, displacement, collapsed, symmetric)
    target = clusters.entropy_target(shares, num_clusters)
    return IIC(
        make_model(heads=heads),
        num_clusters,
        form(entropy_weight, target),
        form(auxiliary_entropy_weight) if auxiliary_clusters else None,
        sub_heads,
        alternate,
        Change(Jitter(brightness, contrast, saturation, hue, order='random'), flip, affine),
        sobel,
        margin,
    )
