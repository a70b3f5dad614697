"""What compares the representations of two views."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers

Maps = Float[Array, 'batch height width channels']
Projected = Float[Array, 'batch height width doubled']


class SeparableCritics(nn.Module):
    """phi_1 and phi_2 of the score f(y, y') = phi_1(y) . phi_2(y') (supplement, Table 3), each from C to 2C channels.

    Two 1x1 convolutions with ReLU, added to a 1x1 convolution of the input, then batch norm. The results are float32.
    """

    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(self, first: Maps, second: Maps, *, train: bool = False) -> tuple[Projected, Projected]:
        return self._project(first, 'first', train), self._project(second, 'second', train)

    def _project(self, x, name: str, train: bool):
        def conv(x, part):
            return nn.Dense(2 * channels, dtype=self.dtype, kernel_init=layers.xavier, name=f'{name}_{part}')(x)

        channels = x.shape[-1]
        projected = nn.relu(conv(nn.relu(conv(x, 'conv_0')), 'conv_1')) + conv(x, 'shortcut')
        norm = layers.batch_norm(train, momentum=0.9, dtype=jnp.float32, name=f'{name}_norm')
        return norm(projected.astype(jnp.float32))
