"""Linear and non-linear evaluation: what a small classifier can read from frozen features, learned from labels.

Classifiers are trained to their end on one sample of labelled pixels, with the features interpolated at each: the linear one by
L-BFGS, the non-linear one by Adam with a rate that falls to zero. What is found then belongs to the features, and not to how long
somebody trained.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, Key, UInt8

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import VOID, Batch, Outputs

KINDS = ('linear', 'non-linear')
TAPS = ('features', 'logits')

_BATCH = 1024  # pixels of a step of the non-linear probe
_RATE = 3e-3  # of its Adam, at the beginning
_ITERATIONS = 500  # of L-BFGS, which ends before where nothing is gained any more

Features = Mapping[str, Float[np.ndarray, 'pixels _']]  # by tap
Predict = Callable[[Any, UInt8[Array, 'batch height width channels']], Outputs]  # of the variables of a frozen network
ToPixels = Callable[[Float[Array, 'batch _ _ channels'], int, int], Float[Array, 'batch height width channels']]


@dataclasses.dataclass(frozen=True)
class Probes:
    """Which probes there are, and how they are trained. The sources name their layers only; the rest is ours.

    names: '<kind>:<tap>', or the kind alone for the features. Kinds are 'linear', a 1x1 convolution, and 'non-linear', 1x1
        convolution, batch norm, ReLU, 1x1 convolution. Taps are the 'features' and the 'logits' that scores are made of, on top
        of which the supplement (section 5) puts its layers; a linear layer there is little more than a relabelling of clusters.
    pixels: labelled pixels of the sample, about. steps: of the non-linear probe, each with 1024 of these. width: of its hidden
        layer.
    """

    names: tuple[str, ...]
    pixels: int
    steps: int
    width: int = 128

    def __post_init__(self):
        for name in self.names:
            kind, tap = _parsed(name)
            if kind not in KINDS or tap not in TAPS:
                raise UserError(
                    f"evaluators.probes.names are '<kind>:<tap>' with a kind of {', '.join(KINDS)} and a tap of "
                    f'{", ".join(TAPS)}; found {name!r}'
                )
        for name in ('pixels', 'steps'):
            if getattr(self, name) < 1:
                raise UserError(f'evaluators.probes.{name} is at least 1, found {getattr(self, name)}')

    @property
    def full_names(self) -> tuple[str, ...]:
        """'<kind>:<tap>' of each, once."""
        return tuple(dict.fromkeys(':'.join(_parsed(name)) for name in self.names))

    def in_words(self, count: int, trained_on: str, scored_on: str) -> str:
        """What a score of these probes means, which were trained with `count` pixels."""
        overlap = set(trained_on.split('+')) & set(scored_on.split('+'))
        return (
            f'trained to the end on the frozen network with the labels of {count} pixels of {trained_on!r}, '
            f'scored on {scored_on!r}'
            f'{" (images it was trained on: no held-out score)" if overlap else ""}; no matching, pixels without a label left out'
        )

    def sample(
        self, predict: Predict, to_pixels: ToPixels, variables: Any, batches: Iterable[Batch], images: int, seed: int
    ) -> tuple[Features, Int[np.ndarray, 'pixels']]:
        """Features at labelled pixels drawn from each of so many `images`, and the classes there; the same on all processes."""
        taps = sorted({_parsed(name)[1] for name in self.names})
        per_image = -(-self.pixels // images)

        @jax.jit
        def draw(variables, batch: Batch, key: Key[Array, '']):
            outputs = predict(variables, batch['image'])
            height, width = batch['label'].shape[1:]
            label = batch['label'].reshape(-1, height * width)
            chance = jnp.where(label == VOID, -1.0, jax.random.uniform(key, label.shape))
            places = jax.lax.top_k(chance, min(per_image, height * width))[1]

            def of_image(maps_and_places):
                maps, places = maps_and_places
                at_pixels = {tap: to_pixels(maps[tap][None].astype(jnp.float32), height, width)[0] for tap in taps}
                return {tap: values.reshape(height * width, -1)[places] for tap, values in at_pixels.items()}

            features = jax.lax.map(of_image, ({tap: outputs[tap] for tap in taps}, places))  # all images at once would be large
            return features, jnp.take_along_axis(label, places, axis=1)

        found = []
        for index, batch in enumerate(batches):
            drawn = draw(variables, batch, jax.random.fold_in(jax.random.key(seed), index))
            features, label = multihost_utils.process_allgather(drawn, tiled=True)
            known = label != VOID
            found.append(({tap: values[known] for tap, values in features.items()}, label[known].astype(np.int32)))
        features = {tap: np.concatenate([features[tap] for features, _ in found]) for tap in taps}
        return features, np.concatenate([label for _, label in found])

    def train(self, features: Features, label: Int[np.ndarray, 'pixels'], num_classes: int, seed: int) -> dict[str, Any]:
        """Variables of each probe, by name."""
        trained = {}
        for name in self.full_names:
            kind, tap = _parsed(name)
            mean, deviation = features[tap].mean(0), features[tap].std(0) + 1e-6
            x = (features[tap] - mean) / deviation  # the scale of features is arbitrary; a linear probe stays linear
            own = _linear(x, label, num_classes) if kind == 'linear' else self._non_linear(x, label, num_classes, seed)
            # Processes on unlike hosts may differ in the last bits.
            trained[name] = multihost_utils.broadcast_one_to_all({'mean': mean, 'deviation': deviation, **own})
        return trained

    def segment(
        self, predict: Predict, to_pixels: ToPixels, name: str, num_classes: int
    ) -> Callable[[Any, Array], Int[Array, 'batch height width']]:
        """A function ((variables of network and probes), image) -> the class of each pixel by one of `full_names`."""
        kind, tap = _parsed(name)
        head = Classifier(num_classes, self.width)

        def segment(variables, image):
            network, own = variables[0], variables[1][name]
            maps = predict(network, image)[tap].astype(jnp.float32)

            def classify(maps):
                x = (maps - own['mean'][None, None]) / own['deviation'][None, None]
                if kind == 'linear':
                    # Linear in the features, so interpolation may follow.
                    return to_pixels((x @ own['kernel'] + own['bias'][None, None])[None], *image.shape[1:3])[0].argmax(-1)
                return head.apply(own['head'], to_pixels(x[None], *image.shape[1:3])[0], train=False).argmax(-1)

            return jax.lax.map(classify, maps)

        return segment

    def _non_linear(self, x, label, num_classes: int, seed: int) -> dict[str, Any]:
        head, x, label = Classifier(num_classes, self.width), jnp.asarray(x), jnp.asarray(label)
        tx = optax.adam(optax.cosine_decay_schedule(_RATE, self.steps))
        keys = jax.random.split(jax.random.key(seed), self.steps + 1)
        own = head.init(keys[0], x[:1], train=False)

        def step(carry, key):
            own, opt_state = carry
            places = jax.random.randint(key, (_BATCH,), 0, len(x))

            def loss(params):
                logits, updated = head.apply({**own, 'params': params}, x[places], train=True, mutable=['batch_stats'])
                return optax.softmax_cross_entropy_with_integer_labels(logits, label[places]).mean(), updated

            gradients, updated = jax.grad(loss, has_aux=True)(own['params'])
            updates, opt_state = tx.update(gradients, opt_state)
            return ({'params': optax.apply_updates(own['params'], updates), **updated}, opt_state), None

        run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0])
        return {'head': run((own, tx.init(own['params'])), keys[1:])[0]}


class Classifier(nn.Module):
    """The non-linear probe: convolution, batch norm, ReLU, convolution, at each place by itself."""

    num_classes: int
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, '*places channels'], *, train: bool) -> Float[Array, '*places classes']:
        x = nn.Dense(self.width, name='hidden')(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, name='norm')(x))
        return nn.Dense(self.num_classes, name='classes')(x)


def _linear(x, label, num_classes: int) -> dict[str, Any]:
    """Multinomial logistic regression by L-BFGS, with next to no regularisation, which only makes the minimum unique."""
    from scipy.optimize import minimize  # a quarter of a second, which no first step should wait for

    x, label = jnp.asarray(x), jnp.asarray(label)
    shape = (x.shape[1], num_classes)

    def unpack(flat):
        return flat[:-num_classes].reshape(shape), flat[-num_classes:]

    def loss(flat):
        kernel, bias = unpack(flat)
        logits = jnp.matmul(x, kernel, precision='highest') + bias[None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean() + 1e-6 * jnp.sum(kernel**2)

    gradient = jax.jit(jax.value_and_grad(loss))

    def both(flat):
        value, slope = gradient(jnp.asarray(flat, jnp.float32))
        return float(value), np.asarray(slope, np.float64)

    found = minimize(
        both, np.zeros(shape[0] * num_classes + num_classes), jac=True, method='L-BFGS-B', options={'maxiter': _ITERATIONS}
    )
    kernel, bias = unpack(found.x.astype(np.float32))
    return {'kernel': kernel, 'bias': bias}


def _parsed(name: str) -> tuple[str, str]:
    kind, _, tap = name.partition(':')
    return kind, tap or 'features'
