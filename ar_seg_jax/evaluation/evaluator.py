"""What an evaluator is, and what it finds."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from ar_seg_jax.data.classes import Class
from ar_seg_jax.data.dataset import Dataset
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import Batch, Method, ModelState

LabelMap = Callable[[UInt8[np.ndarray, 'height width channels']], Integer[np.ndarray, 'height width']]  # of an image
View = Callable[[UInt8[np.ndarray, 'height width channels']], UInt8[np.ndarray, 'height width channels']]  # of an image
Batches = Callable[[str], Iterable[Batch]]  # of a split, once, as global batches on the devices


@dataclasses.dataclass(frozen=True)
class Column:
    """Label maps for pictures, on this process alone: of classes, or of clusters where nothing names them.

    views: by title, other images that the method makes of one, such as its reconstruction.
    """

    title: str
    label_map: LabelMap
    classes: Sequence[Class]
    views: Mapping[str, View] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an evaluator found.

    scalars: for the records of a run, and TensorBoard. content: for its JSON; a sweep reads its 'results', a list with 'name',
    'scores' by name, and 'in_words', how they were found. lines: for people. warnings: what is wrong, and what to do about it.
    columns: for pictures of images beside each other. pictures: PNG files by kind, drawn when they are asked for.
    """

    scalars: Mapping[str, float] = dataclasses.field(default_factory=dict)
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    columns: Sequence[Column] = ()
    pictures: Mapping[str, Callable[[], bytes]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is evaluated: a method, on a data set.

    split: the one that is scored and pictured. untrained: the network of this run before training, ready to predict; None where
    it cannot be had any more. untrained_title: what tables call it. names: for a step, the
    class of each cluster as a person named it, UNMATCHED for none; None where nobody did.
    """

    method: Method
    data: Dataset
    split: str
    seed: int
    untrained: Callable[[], ModelState | None]
    untrained_title: str = 'untrained network'
    names: Callable[[int], Sequence[int] | None] = lambda step: None


def require_classes(subject: Subject, name: str):
    """UserError if labels are numbers of objects, which the evaluator of this name would take for classes."""
    if subject.data.instances:
        raise UserError(
            f'config.evaluators.{name} scores classes, but labels of config.data are numbers of objects; score them with '
            'config.evaluators = common.instances()'
        )


@typing.runtime_checkable
class Evaluator(typing.Protocol):
    """Made once for a run, as `EVALUATORS[name](subject, **options)`, so that its programs are compiled once."""

    def follow(self, state: ModelState, batches: Batches) -> Findings:
        """What is worth knowing during training, quickly."""

    def report(self, state: ModelState, batches: Batches) -> Findings:
        """All of it."""
