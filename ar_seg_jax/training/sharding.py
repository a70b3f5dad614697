"""How arrays lie on devices: the state everywhere, batches split along their first axis.

`jax.jit` over one mesh rather than `pmap`: mutual information and batch norm are quantities of the whole batch, and the
mean over devices of per-device mutual information is another number. (`pmap` is also in maintenance mode.)
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ar_seg_jax.interfaces import Batch


def make_mesh() -> Mesh:
    """All devices of all processes on one axis, 'data'."""
    return jax.make_mesh((jax.device_count(),), ('data',), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec('data'))


def check_batch_size(batch_size: int, mesh: Mesh):
    """ValueError unless the global batch divides over the devices."""
    if batch_size % mesh.size:
        raise ValueError(
            f'batch size {batch_size} does not divide over {mesh.size} devices; use a multiple of {mesh.size} for '
            '--config.pipeline.batch_size and --config.evaluation.batch_size'
        )


def place(batch: Batch, sharding: NamedSharding) -> Batch:
    """This process's part of a batch as part of the global one."""
    return jax.tree.map(lambda array: jax.make_array_from_process_local_data(sharding, array), batch)
