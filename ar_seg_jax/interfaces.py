"""What the parts of the program know of one another."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypedDict, runtime_checkable

from jaxtyping import Array, Float, Key, UInt8

Params = Mapping[str, Any]  # arrays trained by gradient
Extra = Mapping[str, Any]  # every other array that must survive a restart
Metrics = Mapping[str, Float[Array, '']]

VOID = 255  # label of pixels that are not annotated, or not of the classes of interest


class Batch(TypedDict):
    """Images as they travel: 8 bits, channels last; VOID where there is no label."""

    image: UInt8[Array, 'batch height width channels']
    label: UInt8[Array, 'batch height width']


class Outputs(TypedDict):
    """What a method predicts for images."""

    scores: Float[Array, 'batch height width clusters']  # probabilities, float32
    features: Float[Array, 'batch feature_height feature_width channels']


@runtime_checkable
class Method(Protocol):
    """What the loop may ask of a method. Four pure functions of arrays; a frozen dataclass implements them."""

    def init(self, key: Key[Array, ''], image: UInt8[Array, 'batch height width channels']) -> tuple[Params, Extra]:
        """First parameters and state for images like `image`."""

    def loss(
        self, params: Params, extra: Extra, batch: Batch, *, key: Key[Array, ''], step: Array
    ) -> tuple[Float[Array, ''], tuple[Extra, Metrics]]:
        """Scalar over the *global* batch; new extra; scalars to log."""

    def refresh(self, params: Params, extra: Extra, batches: Iterable[Batch], *, key: Key[Array, '']) -> Extra:
        """Between epochs: k-means centroids, a frozen teacher. `refresh = no_refresh` where there is none."""

    def predict(self, params: Params, extra: Extra, image: UInt8[Array, 'batch height width channels']) -> Outputs:
        """Scores and features of the network of inference; jit prunes what nobody reads."""


def no_refresh(self, params: Params, extra: Extra, batches: Iterable[Batch], *, key: Key[Array, '']) -> Extra:
    """For methods with nothing to do between epochs."""
    return extra
