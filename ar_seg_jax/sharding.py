"""How arrays lie on devices: the state everywhere, but for the optimiser's if it is split, batches split along their first axis.

`jax.jit` over one mesh rather than `pmap`: mutual information and batch norm are quantities of the whole batch, and the
mean over devices of per-device mutual information is another number. (`pmap` is also in maintenance mode.)
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch


def make_mesh() -> Mesh:
    """All devices of all processes on one axis, 'data'."""
    return jax.make_mesh((jax.device_count(),), ('data',), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def part_of_state(mesh: Mesh | AbstractMesh, shape: Sequence[int]) -> NamedSharding:
    """Of an array of the optimiser's state that is split over the devices: along its longest axis that their number divides; on
    all of them where there is none (ZeRO-1, Rajbhandari et al. 2020, whose parts are of one array of all parameters)."""
    divisible = [axis for axis, length in enumerate(shape) if length and length % mesh.size == 0]
    if not divisible:
        return replicated(mesh)
    longest = max(divisible, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, 'data'))


def parts_of_state(mesh: Mesh | AbstractMesh, opt_state: Any) -> Any:
    """`part_of_state` of each array."""
    return jax.tree.map(lambda leaf: part_of_state(mesh, leaf.shape), opt_state)


def split_batch(mesh: Mesh, micro_batches: int = 1) -> NamedSharding:
    """Images over the devices; more than one of `micro_batches` are an axis before them, which is not split."""
    return NamedSharding(mesh, PartitionSpec('data') if micro_batches == 1 else PartitionSpec(None, 'data'))


def check_batch_size(batch_size: int, devices: int, key: str, micro_batches: int = 1, learns: bool = True):
    """UserError unless the global batch, the value of a config's `key`, divides over the devices and micro-batches.

    The message names the nearest batches that do, and for one that `learns` what becomes of the learning rate.
    """
    needed = devices * micro_batches
    if batch_size <= 0 or batch_size % needed:
        parts = f'{devices} devices' + (f' x {micro_batches} micro-batches' if micro_batches > 1 else '')
        below = max(batch_size, 0) // needed * needed
        nearest = [size for size in (below, below + needed) if size]
        message = f'batch size {batch_size} does not divide over {parts}; set --config.{key} to {" or ".join(map(str, nearest))}'
        if learns and batch_size > 0:
            rates = ' or '.join(f'{(size / batch_size) ** 0.5:.2f}' for size in nearest)
            message += f'. The learning rate goes with the square root of the batch under Adam: times {rates}'
        raise UserError(message)


def place(batch: Batch, sharding: NamedSharding) -> Batch:
    """This process's part of a batch as part of the global one."""
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), batch)


def local(tree):
    """What is the same on all devices, as this process has it: for work that not all processes do."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)
