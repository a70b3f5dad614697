"""Sums, keys and parameters for `Method.forward`, which in training sees the images of one device alone.

A function that `on_devices` calls has the images of one device. All others see whole arrays, wherever these lie; there the
functions below change nothing, and what is made of them can be used in both.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Key

from ar_seg_jax import sharding


def axis() -> str | None:
    """The axis of the mesh over which the images are split, for `nn.BatchNorm` and collectives; None where all are seen."""
    return next(iter(jax.sharding.get_abstract_mesh().manual_axes), None)


def total(tree: Any) -> Any:
    """Sums over images as those over the whole batch: added up over the devices."""
    return tree if axis() is None else jax.lax.psum(tree, axis())


def same(tree: Any) -> Any:
    """Marks arrays that are equal on all devices, such as parameters, as such: inside `on_devices` JAX takes them to differ."""
    return tree if axis() is None else jax.lax.pmax(tree, axis())


def whole(tree: Any) -> Any:
    """Arrays with one entry for each image as those of the whole batch. They are sent, so not for what is large."""
    return tree if axis() is None else jax.lax.all_gather(tree, axis(), tiled=True)


def keys(key: Key[Array, ''], images: int) -> Key[Array, 'images']:
    """A key for each image, by its number in the whole batch: the same on any number of devices."""
    first = 0 if axis() is None else jax.lax.axis_index(axis()) * images
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(images))


def copies(tree: Any) -> Any:
    """Arrays with a first axis of devices, each of which has its own copy.

    A gradient by copies is what each device's images contribute to it: it stays there until it is `summed`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (1 if mesh.empty else mesh.size, *leaf.shape)), tree)


def on_devices(function: Callable, copies: Any, shared: Any, images: Any) -> tuple[Any, Any]:
    """`function` of a device's copy, of what all devices share, and of its images, under the mesh of `jax.set_mesh`, if any.

    It gives arrays with one entry for each image, and others, which must come out the same on all devices: an error of JAX says
    where they depend on the images of one alone.
    """

    def on_device(copies, shared, images):
        return function(jax.tree.map(lambda leaf: leaf[0], copies), shared, images)

    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return on_device(copies, shared, images)
    split, everywhere = PartitionSpec(*mesh.axis_names), PartitionSpec()
    return jax.shard_map(on_device, in_specs=(split, everywhere, split), out_specs=(split, everywhere))(copies, shared, images)


def summed(copies: Any, *, dtype: jax.typing.DTypeLike = jnp.float32, split: bool = False) -> Any:
    """The sums over copies: what devices send of gradients, once, in arrays of `dtype`.

    split: each device gets the part of a sum that it has of the optimiser's state, see `sharding.part_of_state`; else all of it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.tree.map(lambda leaf: leaf[0], copies)
    (axis,) = mesh.axis_names

    def of_leaf(leaf: Float[Array, 'devices *shape']) -> Float[Array, '*shape']:
        out = sharding.part_of_state(mesh, leaf.shape[1:]).spec if split else PartitionSpec()

        def on_device(leaf):
            own = leaf[0].astype(dtype)
            if axis in out:
                own = jax.lax.psum_scatter(own, axis, scatter_dimension=out.index(axis), tiled=True)
            else:
                own = jax.lax.psum(own, axis)
            return own.astype(leaf.dtype)

        return jax.shard_map(on_device, in_specs=PartitionSpec(axis), out_specs=out)(leaf)

    return jax.tree.map(of_leaf, copies)


def laid_out(params: Any, opt_state: Any) -> tuple[Any, Any]:
    """Parameters on all devices, and of the optimiser's state on each its part."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return params, opt_state
    everywhere = jax.tree.map(lambda _: sharding.replicated(mesh), params)
    return jax.lax.with_sharding_constraint((params, opt_state), (everywhere, sharding.parts_of_state(mesh, opt_state)))
