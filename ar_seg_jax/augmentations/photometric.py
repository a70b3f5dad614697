"""Colour jitter, grey and blur one after another, as contrastive learning changes images (MoCo v2, and PiCIE after it)."""

import dataclasses

import jax

from ar_seg_jax.augmentations import colours
from ar_seg_jax.augmentations.colours import Jitter, Keys
from ar_seg_jax.augmentations.inputs import Images


@dataclasses.dataclass(frozen=True)
class Photometric:
    """Changes of the colours of images in [0, 1], each with a probability of its own.

    grey: probability of an image without colours. blur: probability of a Gaussian blur, whose standard deviation is between
    `smallest` and `largest` pixels.
    """

    jitter: Jitter
    grey: float
    blur: float
    smallest: float
    largest: float

    def __call__(self, keys: Keys, image: Images) -> Images:
        jitter_keys, grey_keys, blur_keys = (jax.vmap(jax.random.fold_in, (0, None))(keys, number) for number in range(3))
        image = colours.to_grey(grey_keys, self.jitter(jitter_keys, image), self.grey)
        return colours.blur(blur_keys, image, self.blur, self.smallest, self.largest)


_JITTER = Jitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, probability=0.8)

# Cho et al. 2021. 'released' is what their code does of it: grey is asked for by a name that is not known, and never happens, and
# the blur draws a number from -1.8 to 0.1, of which the image library takes the size.
PICIE = {
    'paper': Photometric(_JITTER, grey=0.2, blur=0.5, smallest=0.1, largest=2.0),
    'released': Photometric(_JITTER, grey=0.0, blur=0.5, smallest=0.01, largest=1.8),
}
