"""Unsupervised image segmentation in JAX and Flax, after Ouali, Hudelot and Tami (ECCV 2020) and others.

network = ar_seg_jax.load('runs/mine')
labels = network.segment(image)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ar_seg_jax.prediction.network import load as load

__version__ = '0.2.0'


def __getattr__(name: str) -> Any:
    if name == 'load':  # brings JAX, which commands that only print a message should not wait for
        from ar_seg_jax.prediction.network import load

        return load
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
