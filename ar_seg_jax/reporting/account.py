"""What a report tells of a run: words, numbers and encoded pictures. Nothing here knows how it is laid out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ar_seg_jax.data.classes import Colour
from ar_seg_jax.drawing.confusions import Shares
from ar_seg_jax.evaluation.shapes import Shape


class Picture(NamedTuple):
    """An encoded picture of a kind, 'jpeg' or 'png'; what it shows, in words."""

    content: bytes
    kind: str
    width: int
    height: int
    words: str


class Cluster(NamedTuple):
    """name and colour: of its class, as label maps have them; None and black without one. mean_colour: of its pixels. crops:
    where it is likeliest; None for a cluster without pixels."""

    number: int
    name: str | None
    colour: Colour
    shape: Shape
    mean_colour: Colour | None
    crops: Picture | None


class Pictured(NamedTuple):
    """An image with its label map and perhaps its labels, which have its size.

    group: such as 'best', with its score, 0 to 1.
    """

    identifier: str
    group: str
    score: float
    image: Picture
    label_map: Picture
    truth: Picture | None


class Scores(NamedTuple):
    """A table of scores by name, for each row by its name; protocols: in words, how those of each row were found."""

    title: str
    rows: Sequence[tuple[str, Mapping[str, float]]]
    protocols: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Account:
    """All of it. What there is nothing of is empty, and `notes` say why.

    facts: what was trained on what, and how long, by what they are about. warnings: about clusters. records: see
        `training.records.read`.
    measured: on what shapes of clusters were measured, in words. ranked: among which images those that are shown were chosen, and
        by what. compared: other images, that were asked for.
    confusion: shares of the pixels of each class, under the protocol `confusion_protocol`. pictures: that the run left, by title.
    """

    name: str
    step: int
    facts: Mapping[str, str]
    records: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    clusters: Sequence[Cluster] = ()
    measured: str = ''
    images: Sequence[Pictured] = ()
    ranked: str = ''
    compared: Sequence[Pictured] = ()
    scores: Sequence[Scores] = ()
    confusion: Shares | None = None
    confusion_protocol: str = ''
    pictures: Mapping[str, Picture] = dataclasses.field(default_factory=dict)
