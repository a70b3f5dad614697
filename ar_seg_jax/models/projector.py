"""The small head that STEGO and SmooSeg train on the features of an encoder."""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.models import initializers

Activation = Literal['relu', 'silu']
Maps = Float[Array, 'batch height width channels']

_ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {'relu': nn.relu, 'silu': nn.silu}


class Projector(nn.Module):
    """A linear map of the features plus a perceptron of them with as many hidden channels as they have.

    In training channels of an image are dropped together, over all its places: drawn for each of the two parts, and once more
    for the features as the loss sees them, which the module also gives. Weights are drawn as PyTorch draws them.

    width: channels of what it gives, the code. dropout: the share of channels. Computation is in `dtype`, the code is float32.
    """

    width: int
    activation: Activation
    dropout: float
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, features: Maps, *, train: bool = False) -> tuple[Float[Array, 'batch height width {self.width}'], Maps]:
        """The code, and the features."""
        drop = functools.partial(layers.Dropout(self.dropout, broadcast_dims=(1, 2)), train=train)
        hidden = _ACTIVATIONS[self.activation](self._linear('hidden', features.shape[-1], drop(features)))
        code = self._linear('linear', self.width, drop(features)) + self._linear('nonlinear', self.width, hidden)
        return code.astype(jnp.float32), drop(features)

    def _linear(self, name: str, width: int, x):
        bias = initializers.uniform_bias(x.shape[-1])
        return nn.Dense(width, dtype=self.dtype, kernel_init=initializers.uniform, bias_init=bias, name=name)(x)
