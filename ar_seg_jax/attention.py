"""Attention to the earlier positions of an ordering, or to all, with memory linear in their number."""

import functools
import itertools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ar_seg_jax import layers, orderings
from ar_seg_jax.errors import UserError
from ar_seg_jax.orderings import Ordering

Merge = Literal['concatenate', 'add']

CHUNK = 256  # queries whose scores against all keys are held at once
_GROUPS = 4  # of queries, each of which looks at its own keys


class MaskedAttention(nn.Module):
    """Attention of every position to itself and to the earlier ones of an ordering, merged with its input.

    Projections are C/2 wide and split over `heads`; scores are scaled by 1/sqrt(width of a head). The attended features
    are projected back to C channels. `merge` 'concatenate' joins them with the input by a 1x1 convolution to C, the reading that
    the parameter counts of the reproduction report confirm; 'add' is a residual sum. Softmax(QK^T * M) as on the slides still
    lets masked positions in (exp(0) = 1), so later positions are left out of the softmax instead.

    Tokens of a frame already lie in raster order; a zigzag is one fixed permutation more. Scores are float32. UserError unless
    the channels are a multiple of twice the heads.
    """

    heads: int = 1
    merge: Merge = 'concatenate'
    dtype: layers.Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, 'batch height width channels'], ordering: Ordering | None = None
    ) -> Float[Array, 'batch height width channels']:
        batch, height, width, channels = x.shape
        if channels % (2 * self.heads):
            raise UserError(f'{channels} channels do not divide into 2 x {self.heads} heads; choose another number of heads')
        depth = channels // 2 // self.heads
        tokens = x.reshape(batch, height * width, channels)
        zigzag = False if ordering is None else ordering.zigzag
        sequence = functools.partial(orderings.zigzag_sequence, height, width)
        tokens = orderings.select(zigzag, lambda: tokens[:, sequence()], lambda: tokens)

        def project(name):
            return layers.Pointwise(channels // 2, dtype=self.dtype, name=name)(tokens).reshape(
                batch, height * width, self.heads, depth
            )

        attended = attend(project('query'), project('key'), project('value'), causal=ordering is not None)
        attended = attended.reshape(batch, height * width, channels // 2)
        attended = orderings.select(zigzag, lambda: attended[:, np.argsort(sequence())], lambda: attended)
        attended = layers.Pointwise(channels, dtype=self.dtype, name='output')(attended).reshape(x.shape)
        x = x.astype(self.dtype)
        if self.merge == 'add':
            return x + attended
        return layers.Pointwise(channels, dtype=self.dtype, name='merge')(jnp.concatenate([x, attended], axis=-1))


def attend(
    query: Float[Array, 'batch tokens heads depth'],
    key: Float[Array, 'batch tokens heads depth'],
    value: Float[Array, 'batch tokens heads depth'],
    causal: bool,
) -> Float[Array, 'batch tokens heads depth']:
    """Softmax(Q K^T / sqrt(depth)) V, with memory linear in the tokens; with `causal`, query i attends to the keys 0..i.

    cuDNN's fused kernel where it can be had: on NVIDIA GPUs, in 16 bits, for up to 128 channels a head, a multiple of 8.
    `attend_in_chunks` elsewhere, but in programs for any device (`layers.platform`), which hold all scores at once: chunks of a
    symbolic number of tokens cannot be counted.
    """
    depth = query.shape[-1]
    if layers.platform() == 'any':
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal)
    if layers.platform() == 'gpu' and query.dtype.itemsize == 2 and depth <= 128 and depth % 8 == 0:
        return jax.nn.dot_product_attention(query, key, value, is_causal=causal, implementation='cudnn')
    return attend_in_chunks(query, key, value, causal)


def attend_in_chunks(
    query: Float[Array, 'batch tokens heads depth'],
    key: Float[Array, 'batch tokens heads depth'],
    value: Float[Array, 'batch tokens heads depth'],
    causal: bool,
    chunk: int = CHUNK,
) -> Float[Array, 'batch tokens heads depth']:
    """The same in chunks of queries whose scores are computed again in the backward pass.

    Memory is batch x heads x `chunk` x tokens. With `causal`, queries are in a few groups, each of which looks at the keys up to
    its own end: little more than half of the pairs.
    """
    tokens, depth = query.shape[1], query.shape[-1]
    queries = jnp.moveaxis(query, 1, 0)

    def attend_group(begin: int, end: int):
        seen = end if causal else tokens
        keys, values = key[:, :seen], value[:, :seen]

        @jax.checkpoint
        def attend_one(arguments):
            own, place = arguments
            scores = jnp.einsum('bhd,bkhd->bhk', own, keys, preferred_element_type=jnp.float32) * depth**-0.5
            if causal:
                scores = jnp.where((jnp.arange(seen) > place)[None, None], -jnp.inf, scores)
            return jnp.einsum('bhk,bkhd->bhd', nn.softmax(scores).astype(values.dtype), values)

        return jax.lax.map(attend_one, (queries[begin:end], jnp.arange(begin, end)), batch_size=min(chunk, end - begin))

    chunks = -(-tokens // chunk)
    groups = min(_GROUPS, chunks) if causal else 1
    bounds = [min(tokens, chunk * (group * chunks // groups)) for group in range(groups + 1)]
    return jnp.moveaxis(jnp.concatenate([attend_group(*pair) for pair in itertools.pairwise(bounds)]), 0, 1)
