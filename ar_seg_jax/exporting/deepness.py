"""A network as ONNX, as the QGIS plugin Deepness runs it.

What Deepness wants is in its documentation ('Model classes and requirements', 'Add metadata to model') and its sources: one input
(batch, bands, side, side), float32, of 8 bits divided by 255, and 0 beyond the map; one output (batch, classes, side, side) of
scores that sum to 1; and metadata whose values are JSON. A score below `seg_thresh` is taken for 0 before the largest is sought,
and all zeros are class 0, so that the threshold has to be 0 here.

The converter is jax2onnx. It changes functions of JAX and Flax while it traces, knows not all of them, and converts some wrongly
without a word (version 0.17.1 loses the padding of poolings); so what it gives is compared before it is kept.
"""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from ar_seg_jax import layers
from ar_seg_jax.data.classes import UNMATCHED
from ar_seg_jax.errors import UserError
from ar_seg_jax.exporting.program import program
from ar_seg_jax.prediction import tiling
from ar_seg_jax.prediction.network import Network

SIDE = 512  # pixels of a tile
NO_CLASS = 'no class'
TOLERANCE = 1e-4  # of scores, against JAX
_OPSET = 18  # that the ONNX Runtime of older plugins knows
_MOST_OVERLAP = 80  # percent

Tiles = Float[Array, 'batch channels height width']


def exported(network: Network, side: int = SIDE, resolution: float | None = None) -> tuple[bytes, list[str]]:
    """The file, for one tile of so many pixels at a time, and the names of its classes.

    The score of a class is the sum of those of its clusters, as Deepness wants scores that sum to 1; clusters without a class
    have one together, the last one. `predict` takes the class of the likeliest cluster, which at times is another one.

    resolution: centimetres per pixel of the raw training images, for Deepness, which otherwise asks. UserError without the
    packages, for images that Deepness cannot prepare, for a network that jax2onnx cannot convert, and for one that it converts
    wrongly.
    """
    _check_packages()
    _check_form(network)
    names = [entry.name for entry in network.classes] + [NO_CLASS] * (UNMATCHED in network.mapping)
    image = np.random.default_rng(0).integers(0, 256, (1, network.form.channels, side, side), np.uint8)
    tile = image * np.float32(1 / 255)
    expected = np.asarray(jax.jit(_of_tiles(network, len(names)))(tile))
    model = _converted(network, _of_tiles(network, len(names)), tile.shape)  # another function, of which JAX has kept no trace
    for key, value in _metadata(network, names, side, resolution).items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    content = model.SerializeToString()
    check(network, content, tile, expected)
    return content, names


def _check_packages():
    try:
        import jax2onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f'--format=onnx needs the package {error.name}; docs/export.md says how to install it') from error


def _check_form(network: Network):
    """Tiles have 8 bits, and one scale."""
    problem = (
        'more than 8 bits'
        if network.form.ranges
        else 'no scale of their own (data.shorter_side)'
        if network.form.shorter_side
        else ''
    )
    if problem:
        raise UserError(
            f'the images of this run have {problem}, which Deepness cannot bring to the form of the training; take '
            '--format=stablehlo'
        )


def _of_tiles(network: Network, classes: int):
    """From tiles to scores of classes, channels before rows."""
    predict = program(network)
    places = np.array(network.mapping) % classes  # -1, of clusters without a class, is the last one
    members = np.eye(classes, dtype=np.float32)[places]

    def of_tiles(tile: Tiles) -> Tiles:
        image = jnp.round(jnp.moveaxis(tile, 1, -1) * 255).astype(jnp.uint8)
        scores = jnp.matmul(predict(image)['scores'], members, precision='highest')
        return jnp.moveaxis(scores, -1, 1)

    return of_tiles


def _converted(network: Network, predict, shape: tuple[int, ...]):
    import jax2onnx

    try:
        with layers.for_any_platform():
            return jax2onnx.to_onnx(
                predict,
                [jax.ShapeDtypeStruct(shape, jnp.float32)],
                model_name='ar_seg_jax',
                opset=_OPSET,
                input_names=['image'],
                output_names=['scores'],
            )
    except Exception as error:  # whatever it has not foreseen
        raise UserError(
            f'jax2onnx cannot convert {network.method.title} with this model ({type(error).__name__}: {error}); '
            '--format=stablehlo can'
        ) from error


def check(network: Network, content: bytes, tile: Float32[np.ndarray, '...'], expected: Float32[np.ndarray, '...']):
    """UserError unless ONNX Runtime finds the scores that JAX finds."""
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; of unused constants, which jax2onnx leaves behind, nobody needs to know
        session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
        (found,) = session.run(None, {'image': tile})
        words = f'its scores differ from those of JAX by up to {np.abs(found - expected).max():.2g}'
        good = np.allclose(found, expected, rtol=0, atol=TOLERANCE)
    except Exception as error:  # of ONNX Runtime, which has no class of its own for them
        words, good = f'ONNX Runtime refuses it: {error}', False
    if not good:
        raise UserError(f'jax2onnx converts {network.method.title} with this model wrongly: {words}; take --format=stablehlo')


def _metadata(network: Network, names: list[str], side: int, resolution: float | None) -> dict[str, Any]:
    reach = network.method.reach
    margin = tiling.MARGIN if reach is None else min(reach, tiling.MARGIN)
    return {
        'model_type': 'Segmentor',
        'class_names': {str(number): name for number, name in enumerate(names)},
        **({'resolution': resolution / network.form.rescale} if resolution else {}),  # of what the network sees
        'tiles_size': side,
        'tile_size': side,  # as sources of the plugin call what its documentation calls tiles_size
        'tiles_overlap': min(_MOST_OVERLAP, math.ceil(200 * margin / side)),  # percent, half of it on either side
        'seg_thresh': 0.0,
    }
