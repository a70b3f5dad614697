"""How well clusters agree with classes: confusion matrices, scores, and the protocol that each score belongs to."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from ar_seg_jax.evaluation import matching
from ar_seg_jax.interfaces import VOID, Batch

Confusion = Int[np.ndarray, 'clusters classes']
Segment = Callable[[Any, UInt8[Array, 'batch height width channels']], Int[Array, 'batch height width']]  # of variables
Count = Callable[[Any, Batch], Int[Array, 'clusters classes']]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What a score means: the map from clusters to classes is fitted on one split and scored on a split.

    matching: 'one-to-one' (Hungarian) or 'many-to-one' (each cluster to its commonest class).
    """

    matching: str
    matched_on: str
    scored_on: str

    def __post_init__(self):
        if self.matching not in ('one-to-one', 'many-to-one'):
            raise ValueError(f"matching is 'one-to-one' or 'many-to-one', found {self.matching!r}")

    def __str__(self) -> str:
        same = ' (the same images: no held-out score)' if self.matched_on == self.scored_on else ''
        return (
            f'{self.matching} matching fitted on {self.matched_on!r}, scored on {self.scored_on!r}{same}; unmasked network, '
            'pixels without a label left out'
        )

    @classmethod
    def parse(cls, text: str) -> 'Protocol':
        """From '<matching>:<matched on>:<scored on>', such as 'many-to-one:train:val'."""
        parts = text.split(':')
        if len(parts) != 3:
            raise ValueError(f"a protocol is '<matching>:<matched on>:<scored on>', such as 'one-to-one:val:val'; found {text!r}")
        return cls(*parts)

    @property
    def short(self) -> str:
        """As `parse` reads it."""
        return f'{self.matching}:{self.matched_on}:{self.scored_on}'

    def fit(self, confusion: Confusion) -> Int[np.ndarray, 'clusters']:
        """The class of each cluster from the confusion matrix of the split `matched_on`."""
        return {'one-to-one': matching.one_to_one, 'many-to-one': matching.many_to_one}[self.matching](confusion)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Shares of pixels, 0 to 1; a class without pixels has NaN and is left out of the means."""

    accuracy: float
    mean_iou: float
    class_accuracy: tuple[float, ...]
    class_iou: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Result:
    """Scores under a protocol, with the class of each cluster and the confusion matrix of the scored split."""

    protocol: Protocol
    scores: Scores
    mapping: Int[np.ndarray, 'clusters']
    confusion: Confusion


def confusion_counts(
    clusters: Int[Array, 'batch height width'], label: UInt8[Array, 'batch height width'], num_clusters: int, num_classes: int
) -> Int[Array, 'clusters classes']:
    """Pixels of each cluster and class; VOID is not counted. Counts are exact up to 2^31 pixels a batch."""
    cell = clusters.astype(jnp.int32) * num_classes + label
    cell = jnp.where(label == VOID, num_clusters * num_classes, cell)  # past the end: dropped
    counts = jnp.zeros(num_clusters * num_classes, jnp.int32).at[cell.reshape(-1)].add(1, mode='drop')
    return counts.reshape(num_clusters, num_classes)


def make_counter(segment: Segment, num_clusters: int, num_classes: int) -> Count:
    """A compiled function (variables, batch) -> confusion counts of a batch."""

    @jax.jit
    def count(variables, batch: Batch) -> Int[Array, 'clusters classes']:
        return confusion_counts(segment(variables, batch['image']), batch['label'], num_clusters, num_classes)

    return count


def evaluate(
    count: Count, variables: Any, protocols: Sequence[Protocol], batches: Callable[[str], Iterable[Batch]]
) -> list[Result]:
    """Results under each protocol; `batches` gives the batches of a split, on devices. Each split is read once.

    Raises ValueError for a split in which nothing is labelled.
    """
    splits = dict.fromkeys(split for protocol in protocols for split in (protocol.matched_on, protocol.scored_on))
    confusions = {split: confusion(count, variables, split, batches(split)) for split in splits}
    results = []
    for protocol in protocols:
        mapping = protocol.fit(confusions[protocol.matched_on])
        scored = confusions[protocol.scored_on]
        results.append(Result(protocol, score(scored, mapping), mapping, scored))
    return results


def confusion(count: Count, variables: Any, split: str, batches: Iterable[Batch]) -> Confusion:
    """Counts over the batches of a split; ValueError if nothing in them is labelled."""
    total = sum(np.asarray(count(variables, batch), np.int64) for batch in batches)
    if not np.any(total):
        raise ValueError(
            f'no pixel of split {split!r} has a label, so there is nothing to match or score; name labelled splits in '
            '--config.evaluation.protocols'
        )
    return total


def score(confusion: Confusion, mapping: Int[np.ndarray, 'clusters']) -> Scores:
    """Scores of the clusters renamed by `mapping`, whose UNMATCHED clusters are wrong everywhere."""
    num_classes = confusion.shape[1]
    predicted = np.zeros((num_classes + 1, num_classes))
    np.add.at(predicted, np.where(mapping == matching.UNMATCHED, num_classes, mapping), confusion)
    hits = np.diagonal(predicted)
    truth, guessed = predicted.sum(0), predicted[:num_classes].sum(1)
    with np.errstate(invalid='ignore'):
        iou = hits / (truth + guessed - hits)
        recall = hits / truth
    # A class that is neither in the labels nor predicted has no score; one that is only predicted has IoU 0.
    return Scores(float(hits.sum() / predicted.sum()), float(np.nanmean(iou)), tuple(recall.tolist()), tuple(iou.tolist()))
