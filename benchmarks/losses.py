"""The AC loss and its gradients by both score maps: the package's, and with the joint found as IIC finds it."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ar_seg_jax.objectives import mutual_information as mi
from ar_seg_jax.objectives.mutual_information import Assignment
from benchmarks.timing import Contestant
from benchmarks.workload import Workload


def score_maps(workload: Workload) -> list[Assignment]:
    shape = (workload.batch, workload.side, workload.side, workload.clusters)
    return [jax.nn.softmax(2 * jax.random.normal(jax.random.key(seed), shape)) for seed in range(2)]


def void_mask(workload: Workload) -> Bool[Array, 'batch height width']:
    """A third of the pixels do not count."""
    return jax.random.bernoulli(jax.random.key(2), 2 / 3, (workload.batch, workload.side, workload.side))


def masked_maps(maps: Sequence[Assignment], mask: Bool[Array, 'batch height width'] | None) -> list[np.ndarray]:
    """What a loss without a mask is given instead of one."""
    return [np.asarray(each if mask is None else each * mask[..., None]) for each in maps]


def convolution_loss(p: Assignment, q: Assignment, displacement: int) -> Float[Array, '']:
    """The collapsed, symmetric loss, its joints one convolution: p is the image, q the kernel, the batch its channels."""
    padding = [(displacement, displacement)] * 2
    joints = jax.lax.conv_general_dilated(p, q, (1, 1), padding, dimension_numbers=('CHWN', 'IHWO', 'NHWC'))
    joint = joints.sum((1, 2)) / joints.sum()
    return -mi.mutual_information((joint + joint.T) / 2)


def package(workload: Workload, maps: Sequence[Assignment], mask) -> Contestant:
    program = _differentiated(_package_loss(workload, mask)).lower(*maps).compile()
    memory = program.memory_analysis().temp_size_in_bytes
    return Contestant('JAX', lambda: jax.block_until_ready(program(*maps)), {'temporary_bytes': memory})


def convolution(workload: Workload, maps: Sequence[Assignment], mask) -> Contestant:
    maps = [jnp.asarray(each) for each in masked_maps(maps, mask)]
    program = _differentiated(lambda p, q: convolution_loss(p, q, workload.displacement)).lower(*maps).compile()
    return Contestant('convolution', lambda: jax.block_until_ready(program(*maps)))


def compile_loss(workload: Workload):
    """The package's loss at a size, without arrays of that size."""
    shape = jax.ShapeDtypeStruct((workload.batch, workload.side, workload.side, workload.clusters), jnp.float32)
    return _differentiated(_package_loss(workload, None)).lower(shape, shape).compile()


def _package_loss(workload: Workload, mask) -> Callable[[Assignment, Assignment], Float[Array, '']]:
    loss = mi.InformationLoss(workload.displacement, collapsed=True, symmetric=True, entropy_weight=1.0)
    return lambda p, q: loss(p, q, mask)[0]


def _differentiated(loss):
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
