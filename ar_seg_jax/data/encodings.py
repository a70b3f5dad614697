"""What a frozen encoder gives of prepared images, computed once and kept beside them."""

import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float16

from ar_seg_jax.data import beside, pipeline
from ar_seg_jax.interfaces import Encoder

_AT_ONCE = 8  # images


def part(encoder: Encoder) -> beside.Part:
    """Of examples `encoded`, the maps of whole images."""
    return beside.Part(
        'encoded', 'features of the encoder', f'features-{encoder.name}', lambda examples: _computed(examples, encoder)
    )


def _computed(examples: Sequence[pipeline.Example], encoder: Encoder) -> Iterator[bytes]:
    """Images of one size after another together, always as many, so that the encoder is compiled once for a size."""
    decoded = (pipeline.decode(example)['image'] for example in examples)
    for _, alike in itertools.groupby(decoded, np.shape):
        while some := list(itertools.islice(alike, _AT_ONCE)):
            filled = np.stack(some + some[:1] * (_AT_ONCE - len(some)))
            for maps in encoder.encode(filled)[: len(some)]:
                yield _stored(maps)


def _stored(maps: Float16[np.ndarray, 'map_height map_width features']) -> bytes:
    file = io.BytesIO()
    np.save(file, maps, allow_pickle=False)
    return file.getvalue()
