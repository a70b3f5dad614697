"""The arrays of a network as safetensors, for this package and for others."""

import jax
from safetensors.numpy import save

from ar_seg_jax.prediction.network import Network
from ar_seg_jax.training import arrays


def exported(network: Network) -> bytes:
    """The file: all arrays by their paths, 'params/stem/conv/kernel' or 'batch_stats/stem/norm/mean', which
    config.initial_weights.file takes."""
    collections = {'params': network.state.params, **network.state.extra}
    return save(arrays.by_name(jax.device_get(jax.tree.map(arrays.numbers, collections))))
