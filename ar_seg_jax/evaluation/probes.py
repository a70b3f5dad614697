"""Linear and non-linear evaluation: what a small classifier can read from frozen features, learned from labels."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, UInt8

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID, Batch, Outputs

KINDS = ('linear', 'non-linear')
TAPS = ('features', 'logits')

Predict = Callable[[Any, UInt8[Array, 'batch height width channels']], Outputs]  # of the variables of a frozen network


@dataclasses.dataclass(frozen=True)
class Probes:
    """Which probes are trained, for how long. The sources name their layers only; the rest is ours.

    names: '<kind>:<tap>', or the kind alone for the features. Kinds are 'linear', a 1x1 convolution, and 'non-linear', 1x1
        convolution, batch norm, ReLU, 1x1 convolution. Taps are the 'features' that go into the decoder, and the decoder's
        'logits', on top of which the supplement (section 5) puts its layers; a linear layer there is little more than a
        relabelling of the clusters.
    steps: batches. width: channels of the hidden layer. learning_rate: of Adam.
    """

    names: tuple[str, ...]
    steps: int
    width: int = 128
    learning_rate: float = 1e-2

    def __post_init__(self):
        for name in self.names:
            kind, tap = _parsed(name)
            if kind not in KINDS or tap not in TAPS:
                raise UserError(
                    f"evaluators.probes.names are '<kind>:<tap>' with a kind of {', '.join(KINDS)} and a tap of "
                    f'{", ".join(TAPS)}; found {name!r}'
                )
        if self.steps < 1:
            raise UserError(f'evaluators.probes.steps is at least 1, found {self.steps}')

    @property
    def full_names(self) -> tuple[str, ...]:
        """'<kind>:<tap>' of each, once."""
        return tuple(dict.fromkeys(':'.join(_parsed(name)) for name in self.names))

    def in_words(self, trained_on: str, scored_on: str) -> str:
        """What a score of these probes means."""
        overlap = set(trained_on.split('+')) & set(scored_on.split('+'))
        return (
            f'trained on the frozen network with the labels of {self.steps} batches of {trained_on!r}, scored on {scored_on!r}'
            f'{" (images it was trained on: no held-out score)" if overlap else ""}; no matching, pixels without a label left out'
        )

    def train(self, predict: Predict, variables: Any, batches: Iterable[Batch], num_classes: int, seed: int) -> Any | None:
        """Variables of the probes after one pass over `batches`, on whose features all of them are trained at once.

        The loss is the cross-entropy of every labelled pixel by itself. None if no pixel has a label.
        """
        heads, tx = self._heads(num_classes), optax.adam(self.learning_rate)

        @jax.jit
        def begin(variables, image):
            own = heads.init(jax.random.key(seed), predict(variables, image), train=False)
            return own, tx.init(own['params'])

        @jax.jit
        def step(variables, own, opt_state, batch: Batch):
            outputs = predict(variables, batch['image'])

            def loss(params):
                logits, updated = heads.apply({**own, 'params': params}, outputs, train=True, mutable=['batch_stats'])
                return sum(_cross_entropy(each, batch['label']) for each in logits.values()), updated

            gradients, updated = jax.grad(loss, has_aux=True)(own['params'])
            updates, opt_state = tx.update(gradients, opt_state)
            return {'params': optax.apply_updates(own['params'], updates), **updated}, opt_state, jnp.any(batch['label'] != VOID)

        own, labelled = None, False
        for batch in batches:
            if own is None:
                own, opt_state = begin(variables, batch['image'])
            own, opt_state, any_label = step(variables, own, opt_state, batch)
            # Reading it waits for the step: with many of them under way, processes on CPUs can block one another for ever.
            labelled |= bool(any_label)
        return own if labelled else None

    def segment(self, predict: Predict, name: str, num_classes: int) -> Callable[[Any, Array], Array]:
        """A function ((network's variables, those of the probes), image) -> the class of each pixel by one of `full_names`."""
        heads = self._heads(num_classes)

        def segment(variables, image):
            network, own = variables
            logits = heads.apply(own, predict(network, image), train=False)[name]
            return jnp.argmax(_to_pixels(logits, *image.shape[1:3]), axis=-1)

        return segment

    def _heads(self, num_classes: int) -> 'Heads':
        return Heads(self.full_names, num_classes, self.width)


class Heads(nn.Module):
    """The probes side by side; logits by name."""

    names: tuple[str, ...]
    num_classes: int
    width: int

    @nn.compact
    def __call__(self, outputs: Outputs, *, train: bool) -> dict[str, Float[Array, 'batch height width classes']]:
        logits = {}
        for name in self.names:
            kind, tap = _parsed(name)
            probe = Probe(self.num_classes, self.width if kind == 'non-linear' else 0, name=name)
            logits[name] = probe(outputs[tap], train=train)
        return logits


class Probe(nn.Module):
    """Logits of classes at each place of a feature map by itself: linear or, with a hidden `width`, non-linear.

    Features come in any scale, since the residual blocks have no normalisation; a batch norm without parameters puts them
    on one, which keeps a linear probe linear.
    """

    num_classes: int
    width: int = 0

    @nn.compact
    def __call__(
        self, maps: Float[Array, 'batch height width channels'], *, train: bool
    ) -> Float[Array, 'batch height width classes']:
        def norm(name, affine):
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, use_bias=affine, use_scale=affine, name=name)

        maps = norm('scale', affine=False)(maps.astype(jnp.float32))
        if self.width:
            maps = nn.relu(norm('norm', affine=True)(nn.Dense(self.width, name='hidden')(maps)))
        return nn.Dense(self.num_classes, name='classes')(maps)


def _cross_entropy(logits, label):
    """Mean over labelled pixels; 0 where there are none."""
    labelled = label != VOID
    losses = optax.softmax_cross_entropy_with_integer_labels(_to_pixels(logits, *label.shape[1:]), jnp.where(labelled, label, 0))
    return jnp.sum(losses * labelled) / jnp.maximum(labelled.sum(), 1)


def _to_pixels(logits, height: int, width: int):
    return layers.upsample(logits, -(-height // logits.shape[1]), height, width)


def _parsed(name: str) -> tuple[str, str]:
    kind, _, tap = name.partition(':')
    return kind, tap or 'features'
