"""Dense SIFT descriptors, one for each box of 10x10 pixels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

STEP = 10  # pixels from box to box
_CELLS = 4  # along each side of a box
_CELL = 3  # pixels from centre to centre, so that the centres of the outer cells are the outer pixels of the box
_ORIENTATIONS = 8
_LIMIT = 0.2  # of an entry, so that no single edge decides (Lowe 2004, section 6.1)


def sift_descriptors(
    image: UInt8[Array, 'batch height width channels'],
) -> Float[Array, 'batch boxes_high boxes_wide 128']:
    """The SIFT descriptor of each box that fits into the image, from the top left; a box without any gradient has zeros.

    Those of VLFeat's `vl_dsift` with `step=10`, which IIC clusters: grey image without smoothing, gradients in 8 orientations
    with linear interpolation, 4x4 cells with triangular windows of 3 pixels, a Gaussian of 6 pixels around the middle of the
    box; entries from 0, in the order row of the cell, column, orientation; length 1, entries clipped at 0.2, length 1 again
    (Lowe 2004, section 6.1). Outermost gradients are repeated where windows reach past the image. VLFeat rounds entries to
    multiples of 1/512 in the end, we do not.
    """
    # Rounded like OpenCV's grey images: a patch of one colour then has gradients of exactly 0.
    grey = jnp.round(jnp.matmul(image[..., :3].astype(jnp.float32), jnp.array([0.299, 0.587, 0.114]), precision='highest'))
    rows, columns = _windows(grey.shape[1]), _windows(grey.shape[2])
    cells = jnp.einsum('bhwo,ich,jdw->bijcdo', _orientations(grey), rows, columns, precision='highest')
    vectors = cells.reshape(*cells.shape[:3], _CELLS * _CELLS * _ORIENTATIONS)
    return _unit(jnp.minimum(_unit(vectors), _LIMIT))


def _orientations(grey: Float[Array, 'batch height width']) -> Float[Array, 'batch height width orientations']:
    """Lengths of gradients, each shared by the two nearest orientations; orientation 0 points right, 2 down."""
    down, right = jnp.gradient(grey, axis=(1, 2))
    place = jnp.arctan2(down, right)[..., None] * (_ORIENTATIONS / (2 * jnp.pi))
    half = _ORIENTATIONS // 2
    distance = jnp.abs((place - jnp.arange(_ORIENTATIONS)[None, None, None] + half) % _ORIENTATIONS - half)
    return jnp.hypot(down, right)[..., None] * jnp.maximum(0, 1 - distance)


def _windows(length: int) -> Float[np.ndarray, 'boxes cells length']:
    """The weight of each pixel along one axis for each cell of each box."""
    offsets = np.arange(1 - _CELL, STEP + _CELL - 1)  # of the pixels within reach, from the first of the box
    triangles = np.maximum(0, 1 - np.abs(offsets - _CELL * np.arange(_CELLS)[:, None]) / _CELL)
    gaussian = np.exp(-0.5 * ((offsets - (STEP - 1) / 2) / (2 * _CELL)) ** 2)
    pixels = np.clip(STEP * np.arange(length // STEP)[:, None] + offsets, 0, length - 1)
    return np.einsum('co,bol->bcl', triangles * gaussian, pixels[..., None] == np.arange(length)).astype(np.float32)


def _unit(vectors: Float[Array, '*places channels']) -> Float[Array, '*places channels']:
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
