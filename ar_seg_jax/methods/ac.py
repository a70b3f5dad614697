"""Autoregressive clustering (AC): two scans of one image should give the same clusters."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ar_seg_jax.interfaces import VOID, Batch, Extra, Metrics, Outputs, Params, no_refresh
from ar_seg_jax.objectives.mutual_information import InformationLoss, Scores
from ar_seg_jax.orderings import RASTER, Sampling, check_sampling, sample_pair, stack


@dataclasses.dataclass(frozen=True)
class AC:
    """Maximises the mutual information between the outputs of two random orderings (Ouali et al. 2020, Eqs. 1-6).

    model: takes images in [0, 1] and a sequence of orderings.
    orderings: names of the orderings to draw from.
    sampling: how the two are drawn, see `orderings.sample_pair`.
    sobel: append horizontal and vertical Sobel gradients of the grey image, as IIC does on COCO-Stuff.
    entropy_steps: steps over which the entropy weight goes from 1 to that of `information`; 0 has it from the start. Weights
        below 1 allow clusters of uneven size, but from the first step they collapse an untrained network.
    mask_void: leave pixels labelled VOID out of the loss. IIC's protocol on COCO-Stuff, where pixels outside the classes
        of interest are no part of the task; it uses the labels' outline, so it is off where nothing says so.
    """

    model: nn.Module
    information: InformationLoss
    orderings: tuple[str, ...] = tuple(RASTER)
    sampling: Sampling = 'random'
    sobel: bool = False
    entropy_steps: int = 0
    mask_void: bool = False

    def __post_init__(self):
        stack(self.orderings)
        check_sampling(self.sampling, len(self.orderings))

    def init(self, key, image):
        variables = self.model.init(key, self._input(image))
        return variables['params'], {'batch_stats': variables.get('batch_stats', {})}

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, part=0) -> tuple[tuple[Scores, Scores], Extra]:
        pair_key, dropout_key = jax.random.split(key)
        pair = sample_pair(pair_key, stack(self.orderings), self.sampling)
        (first, second), updated = self.model.apply(
            {'params': params, **extra},
            self._input(batch['image']),
            pair,
            train=True,
            mutable=['batch_stats'],
            rngs={'dropout': jax.random.fold_in(dropout_key, part)},
        )
        return (first['scores'], second['scores']), {'batch_stats': updated.get('batch_stats', {})}

    def objective(self, outputs: tuple[Scores, Scores], batch: Batch, *, step) -> tuple[jax.Array, Metrics]:
        mask = (batch['label'] != VOID).astype(jnp.float32) if self.mask_void else None
        information = dataclasses.replace(self.information, entropy_weight=self._entropy_weight(step))
        return information(*outputs, mask)

    refresh = no_refresh

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        (outputs,) = self.model.apply({'params': params, **extra}, self._input(image))
        return outputs

    def _entropy_weight(self, step):
        final = self.information.entropy_weight
        return 1 + (final - 1) * jnp.minimum(step / self.entropy_steps, 1) if self.entropy_steps else final

    def _input(self, image):
        image = image.astype(jnp.float32) / 255
        return append_sobel(image) if self.sobel else image


def append_sobel(image):
    """Images in [0, 1] with two more channels: the Sobel gradients of the grey image along columns and rows.

    Grey is the mean of R, G, B weighted by ITU-R 601-2; the gradients are those of a 3x3 Sobel kernel with weights
    1, 2, 1, zero padded (IIC's input on COCO-Stuff).
    """
    grey = image[..., :3] @ jnp.array([0.299, 0.587, 0.114], image.dtype)
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    gradients = (rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2])
    return jnp.concatenate([image, *(gradient[..., None] for gradient in gradients)], axis=-1)
