"""From maps to objects: where each of K slots looks, what it sees there, and what all of them make of it."""

import functools
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers, parallel
from ar_seg_jax.models import initializers

Grid = Literal['corners', 'centres']


class Slots(NamedTuple):
    """What is drawn of each slot.

    places: x (column), y (row) of the centre in [-1, 1], image border to image border, and the scale along both: how many times
        the glimpse goes into the image. activation: a logit; that of the background is its rival. appearance: of the glimpse.
    """

    places: Float[Array, 'batch slots 4']
    activation: Float[Array, 'batch slots']
    appearance: Float[Array, 'batch slots channels']


def soft_argmax(
    logits: Float[Array, 'batch height width slots'], maps: Float[Array, 'batch height width channels'], grid: Grid
) -> Float[Array, 'batch slots latents']:
    """The mean of (x, y, maps) over all cells, weighted by each slot's attention: the softmax of its logits over them.

    x and y are 2j / (w - 1) - 1, as in the released code: -1 and 1 at the centres of border cells ('corners'). Glimpses are
    placed on a grid that ends at the borders of the image, from which this is up to half a cell away. 'centres' has that grid:
    (2j + 1) / w - 1.
    """
    height, width = logits.shape[1:3]
    rows, columns = (_coordinates(side, grid) for side in (height, width))
    places = jnp.stack(jnp.meshgrid(columns, rows), axis=-1)
    values = jnp.concatenate([jnp.broadcast_to(places[None], (len(maps), *places.shape)), maps], axis=-1)
    attention = nn.softmax(logits, axis=(1, 2))
    return jnp.einsum('bhwk,bhwc->bkc', attention, values, precision='highest')


def _coordinates(side: int, grid: Grid):
    if grid == 'corners':
        return jnp.linspace(-1, 1, side)
    return (2 * jnp.arange(side) + 1) / side - 1


class SlotTransformer(nn.Module):
    """A transformer encoder over the slots of an image, whose output takes the place of its input.

    A linear map to `width`, `depth` layers, a linear map back; slots have no embedding of their own. As in the released code all
    layers begin with the same weights, there copies of one layer. depth 0: the latents as they are, without any map.

    dropout: of attention weights, of what is added to the residual path, and between the two feedforward maps; the supplement
    does not mention it, the released code trains with 0.1.
    """

    depth: int
    width: int
    heads: int
    feedforward: int
    dropout: float
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, 'batch slots latents'], *, train: bool = False
    ) -> Float[Array, 'batch slots latents']:
        if not self.depth:
            return latents
        x = _linear(self.width, latents.shape[-1], self.dtype, 'embed')(latents)
        repeated = nn.scan(
            lambda layer, x, _: (layer(x, train=train), None),
            variable_axes={'params': 0},
            split_rngs={'params': False, 'dropout': True},
            length=self.depth,
        )
        x, _ = repeated(_Layer(self.heads, self.feedforward, self.dropout, self.dtype, name='layers'), x, None)
        return _linear(latents.shape[-1], self.width, self.dtype, 'project')(x).astype(jnp.float32)


class _Layer(nn.Module):
    """torch.nn.TransformerEncoderLayer: norms after the residual sums, ReLU, and its ways to draw weights."""

    heads: int
    feedforward: int
    dropout: float
    dtype: layers.Dtype

    @nn.compact
    def __call__(self, x, *, train: bool):
        def dropped(x):
            return layers.Dropout(self.dropout)(x, train=train)

        width = x.shape[-1]
        attention = nn.MultiHeadDotProductAttention(
            self.heads,
            dtype=self.dtype,
            dropout_rate=self.dropout,
            deterministic=not train,
            attention_fn=_attend,
            # Xavier's of queries, keys and values as the one matrix that they are in torch: from width to 3 * width.
            kernel_init=nn.initializers.variance_scaling(1 / 2, 'fan_in', 'uniform'),
            out_kernel_init=initializers.uniform,
            name='attention',
        )
        x = nn.LayerNorm(1e-5, dtype=jnp.float32, name='attention_norm')(x + dropped(attention(x)))
        hidden = dropped(nn.relu(_linear(self.feedforward, width, self.dtype, 'inner')(x)))
        outer = _linear(width, self.feedforward, self.dtype, 'outer')(hidden)
        return nn.LayerNorm(1e-5, dtype=jnp.float32, name='feedforward_norm')(x + dropped(outer)).astype(self.dtype)


def _attend(query, key, value, dropout_rng=None, dropout_rate=0.0, deterministic=True, dtype=None):
    """`nn.dot_product_attention`, with dropout of its weights as that of `layers.Dropout`."""
    attend = functools.partial(
        nn.dot_product_attention,
        dropout_rate=dropout_rate,
        broadcast_dropout=False,
        deterministic=deterministic,
        dtype=dtype,
    )
    if dropout_rng is None:
        return attend(query, key, value)
    keys = parallel.keys(dropout_rng, len(query))
    return jax.vmap(lambda query, key, value, rng: attend(query, key, value, dropout_rng=rng))(query, key, value, keys)


def _linear(features: int, inputs: int, dtype: layers.Dtype, name: str) -> nn.Dense:
    """As torch draws it."""
    bias = initializers.uniform_bias(inputs)
    return nn.Dense(features, dtype=dtype, kernel_init=initializers.uniform, bias_init=bias, name=name)


def split(latents: Float[Array, 'batch slots latents'], scales: int, smallest: float, largest: float) -> Slots:
    """x, y | logits of one or two `scales` between the `smallest` and the `largest` | activation | appearance.

    x and y are clamped to [-1, 1]. One scale is that of both directions. Where there is one, the released code takes the first
    value of the appearance for the activation and leaves the value that stands here unused; this follows the supplement, in
    which the activation is a value of its own.
    """
    centres, logits, activation, appearance = jnp.split(latents, [2, 2 + scales, 3 + scales], axis=-1)
    factors = smallest + (largest - smallest) * nn.sigmoid(logits)
    factors = jnp.broadcast_to(factors, centres.shape)
    return Slots(jnp.concatenate([jnp.clip(centres, -1, 1), factors], axis=-1), activation[..., 0], appearance)
