"""Arrays as checkpoints hold them: their names, their numbers, and checksums of these."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from ar_seg_jax import sharding

Items = Mapping[str, Mapping[str, Any]]  # trees of arrays by name


def on_host(items: Items) -> Items:
    """A copy that later steps, which take the memory of the state, leave alone."""
    local = jax.tree.map(numbers, sharding.local(items))
    for leaf in jax.tree.leaves(local):
        leaf.copy_to_host_async()
    return jax.tree.map(np.array, local)


def checksums(item: Mapping[str, Any]) -> dict[str, int]:
    """CRC-32 of the bytes of each leaf."""

    def checksum(leaf: jax.Array | np.ndarray) -> int:
        leaf = numbers(leaf)
        return zlib.crc32(np.ascontiguousarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf))

    return {name(path): checksum(leaf) for path, leaf in tree_leaves_with_path(item)}


def numbers(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """As it is saved: a random key is its numbers."""
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def abstract(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """The form in which `numbers` of it are read."""
    found = jax.eval_shape(numbers, leaf)
    return jax.ShapeDtypeStruct(found.shape, found.dtype, sharding=leaf.sharding)


def as_key(leaf: Any, wanted: jax.Array | jax.ShapeDtypeStruct) -> Any:
    """Numbers as a random key, where that is wanted and they are not one yet: earlier versions had Orbax save keys as such."""
    is_key = jax.dtypes.issubdtype(wanted.dtype, jax.dtypes.prng_key)
    return jax.random.wrap_key_data(leaf) if is_key and leaf.dtype == np.uint32 else leaf


def by_name(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The leaves of a tree of arrays that are on the host, by their paths."""
    return {name(path): np.asarray(leaf) for path, leaf in tree_leaves_with_path(tree)}


def name(path) -> str:
    """Of a leaf, from its path in a tree: 'params/stem/conv/kernel'."""
    return keystr(path, simple=True, separator='/')
