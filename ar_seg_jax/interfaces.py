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
    logits: Float[Array, 'batch feature_height feature_width outputs']  # of the decoder


@runtime_checkable
class Method(Protocol):
    """What the loop may ask of a method. Five pure functions of arrays; a frozen dataclass implements them."""

    num_clusters: int  # of the scores of `predict`

    def init(self, key: Key[Array, ''], image: UInt8[Array, 'batch height width channels']) -> tuple[Params, Extra]:
        """First parameters and state for images like `image`."""

    def forward(
        self, params: Params, extra: Extra, batch: Batch, *, key: Key[Array, ''], part: int | Array = 0
    ) -> tuple[Any, Extra]:
        """What `objective` compares, a pytree whose leaves have one entry for each image; and new extra.

        `key` is that of the step. Of a batch that is computed in parts each part has its number: what is random for every
        image depends on it, what is drawn once for the batch (a pair of orderings) must not.
        """

    def objective(self, outputs: Any, batch: Batch, *, step: Array) -> tuple[Float[Array, ''], Metrics]:
        """The loss, a scalar over the *global* batch, from the outputs of all its images; scalars to log."""

    def refresh(self, params: Params, extra: Extra, batches: Iterable[Batch], *, key: Key[Array, '']) -> Extra:
        """Before a state is saved or evaluated, from some training batches: centroids of what the network computes now.

        Training must not depend on it, since a run that was stopped has been saved more often. `refresh = no_refresh`
        where there is nothing to do.
        """

    def predict(self, params: Params, extra: Extra, image: UInt8[Array, 'batch height width channels']) -> Outputs:
        """Scores and features of the network of inference; jit prunes what nobody reads."""


def no_refresh(self, params: Params, extra: Extra, batches: Iterable[Batch], *, key: Key[Array, '']) -> Extra:
    """For methods whose `predict` needs only what was trained."""
    return extra
