"""What a model sees of an image: its range, more channels, and a key for what is random about it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from ar_seg_jax.interfaces import Model

Images = Float[Array, 'batch height width channels']

GREY = (0.299, 0.587, 0.114)  # shares of R, G, B in grey (ITU-R 601-2)


def to_unit(image: UInt8[Array, 'batch height width channels']) -> Images:
    """Images of 8 bits in [0, 1]."""
    return image.astype(jnp.float32) / 255


def model_input(model: Model, image: UInt8[Array, 'batch height width channels']) -> Images:
    """Images of 8 bits as a model was made to see them: in [0, 1], then normalised as it says."""
    return model.normalisation.apply(to_unit(image))


def append_sobel(seen: Images, image: Images) -> Float[Array, 'batch height width inputs']:
    """What a model sees of an image with two more channels: the Sobel gradients of the grey image along columns and rows.

    The gradients are those of a 3x3 Sobel kernel with weights 1, 2, 1, zero padded (IIC's input on COCO-Stuff), of the image in
    [0, 1]: a normalisation has no mean and deviation for them.
    """
    grey = image[..., :3] @ jnp.array(GREY, image.dtype)
    padded = jnp.pad(grey, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    gradients = (rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2])
    return jnp.concatenate([seen, *(gradient[..., None] for gradient in gradients)], axis=-1)


def keys_of(image: UInt8[Array, 'batch height width channels'], key: Key[Array, '']) -> Key[Array, 'batch']:
    """A key for each image, which follows from `key` and from its pixels.

    With the key of an epoch an image is changed in the same way whenever it is seen in that epoch: while clusters are sought,
    while it is labelled, while it is learned from; in whichever batch, on whichever device.
    """
    odd = jax.random.bits(key, image.shape[1:]) | 1  # modulo 2^32, and so no single pixel is lost
    sums = jnp.sum(image.astype(jnp.uint32) * odd[None], axis=(1, 2, 3), dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, sums)
