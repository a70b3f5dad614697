"""What tells from two patches of features how they lie to one another."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError

Kind = Literal['full', 'pooled']
Patches = Float[Array, 'batch size size channels']

_DROPOUT = 0.5
_LINEAR = nn.initializers.normal(0.01)


class PatchComparator(nn.Module):
    """The siamese head of IIC's released code (Ji et al. 2019) for Doersch et al. 2015 and Isola et al. 2016.

    Each patch goes through the same 3x3 convolution to `width` channels (1024 there) without a bias, batch norm and ReLU. What
    comes of both is concatenated, for a linear layer of as many channels, ReLU, dropout of a half, and a linear layer to the
    `outputs`, which are float32. Batch norm sees the two patches one after the other, so its statistics move twice a step.

    `kind` is what comes of a patch. 'full': all of it, flattened, as in IIC's code; the first linear layer then has most of the
    parameters, 254 million for patches of 11 x 11. 'pooled': its mean over places, which loses where in a patch things are and
    needs a 38th of the parameters, 6.8 million of 258.5; ours, for machines without the memory.
    """

    outputs: int
    kind: Kind
    width: int
    dtype: layers.Dtype

    def __post_init__(self):
        if self.width < 1:
            raise UserError(f'method.comparator_width is at least 1, found {self.width}')
        super().__post_init__()

    @nn.compact
    def __call__(self, first: Patches, second: Patches, *, train: bool = False) -> Float[Array, 'batch {self.outputs}']:
        kernel = self.param('conv', layers.kaiming, (3, 3, first.shape[-1], self.width)).astype(self.dtype)
        norm = layers.batch_norm(train, momentum=0.9, dtype=self.dtype, name='norm')

        def seen(patches):
            x = nn.relu(norm(layers.convolve(patches.astype(self.dtype), kernel, ((1, 1), (1, 1)))))
            return x.mean(axis=(1, 2)) if self.kind == 'pooled' else x.reshape(len(x), -1)

        x = jnp.concatenate([seen(first), seen(second)], axis=-1)
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, kernel_init=_LINEAR, name='hidden')(x))
        x = layers.Dropout(_DROPOUT)(x, train=train)
        return nn.Dense(self.outputs, dtype=self.dtype, kernel_init=_LINEAR, name='output')(x).astype(jnp.float32)
