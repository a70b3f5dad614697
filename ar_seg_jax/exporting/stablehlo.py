"""A network as StableHLO, in the format of `jax.export`: one file for CPU, CUDA and TPU, which runs without this package."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export

from ar_seg_jax import layers
from ar_seg_jax.errors import UserError
from ar_seg_jax.exporting.program import program
from ar_seg_jax.prediction.network import Network

PLATFORMS = ('cpu', 'cuda', 'tpu')
_LEAST = 64  # pixels


class Sizes(NamedTuple):
    """Which images a program takes: in words, as a shape of `jax.export.symbolic_shape`, and the constraints of that."""

    words: str
    shape: str
    constraints: tuple[str, ...] = ()


def serialized(network: Network, side: int | None = None) -> tuple[bytes, Sizes]:
    """The file, see `exported`; UserError without the package flatbuffers."""
    try:
        import flatbuffers  # noqa: F401, which serialize() needs
    except ImportError as error:
        raise UserError("--format=stablehlo needs the package flatbuffers: pip install 'ar_seg_jax[export]'") from error
    found, sizes = exported(network, side)
    return bytes(found.serialize()), sizes


def exported(network: Network, side: int | None = None) -> tuple[export.Exported, Sizes]:
    """`program`, and which images it takes: batches of any number of images of any size, or of squares of one `side`.

    A few models have to know that images are not tiny, or hold whole cells: the sizes then say so. UserError for a network that
    has to know the sizes themselves.
    """
    predict, channels = program(network), network.form.channels
    for sizes in _sizes(network.method.output_stride, channels, side):
        shape = export.symbolic_shape(sizes.shape, constraints=sizes.constraints)
        try:
            with layers.for_any_platform():
                return export.export(jax.jit(predict), platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, jnp.uint8)), sizes
        except jax.errors.InconclusiveDimensionOperation:
            continue  # the model asks for more than these sizes say
    advice = f'{side} x {side} do not fit it; try another' if side else 'give one by'
    raise UserError(f'{network.method.title} with this model has to know the size of images; {advice} --tile_size')


def _sizes(stride: int, channels: int, side: int | None) -> Iterator[Sizes]:
    """Those that are tried, the freest first."""
    if side:
        yield Sizes(f'{side} x {side} pixels', f'batch, {side}, {side}, {channels}')
        return
    free = f'batch, height, width, {channels}'
    yield Sizes('any', free)
    yield Sizes(f'at least {_LEAST} pixels on each side', free, (f'height >= {_LEAST}', f'width >= {_LEAST}'))
    yield Sizes(f'sides that are multiples of {stride} pixels', f'batch, {stride}*rows, {stride}*columns, {channels}')
