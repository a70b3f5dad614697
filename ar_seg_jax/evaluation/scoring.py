"""How well clusters agree with classes: confusion matrices and scores."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from ar_seg_jax.data.classes import UNMATCHED
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.protocols import Protocol
from ar_seg_jax.interfaces import VOID, Batch

Confusion = Int[np.ndarray, 'clusters classes']
Segment = Callable[[Any, UInt8[Array, 'batch height width channels']], Int[Array, 'batch height width']]  # of variables
Count = Callable[[Any, Batch], Int[Array, 'clusters classes']]


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
    cells = num_clusters * num_classes
    cell = jnp.where(label == VOID, cells, clusters.astype(jnp.int32) * num_classes + label)
    return jnp.bincount(cell.reshape(-1), length=cells + 1)[:cells].reshape(num_clusters, num_classes)


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

    Raises UserError for a split in which nothing is labelled.
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
    """Counts over the batches of a split; UserError if nothing in them is labelled."""
    total = sum(np.asarray(count(variables, batch), np.int64) for batch in batches)
    if not np.any(total):
        raise UserError(
            f'no pixel of split {split!r} has a label, so there is nothing to match or score; name labelled splits in '
            '--config.evaluation.split and --config.evaluators.segmentation.protocols'
        )
    return total


def score(confusion: Confusion, mapping: Int[np.ndarray, 'clusters']) -> Scores:
    """Scores of the clusters renamed by `mapping`, whose UNMATCHED clusters are wrong everywhere."""
    num_classes = confusion.shape[1]
    predicted = np.zeros((num_classes + 1, num_classes))
    np.add.at(predicted, np.where(mapping == UNMATCHED, num_classes, mapping), confusion)
    hits = np.diagonal(predicted)
    truth, guessed = predicted.sum(0), predicted[:num_classes].sum(1)
    with np.errstate(invalid='ignore'):
        iou = hits / (truth + guessed - hits)
        recall = hits / truth
    # A class that is neither in the labels nor predicted has no score; one that is only predicted has IoU 0.
    return Scores(float(hits.sum() / predicted.sum()), float(np.nanmean(iou)), tuple(recall.tolist()), tuple(iou.tolist()))


def content(scores: Scores, confusion: Confusion) -> dict[str, Any]:
    """Both, as they are saved in JSON."""
    return {
        'scores': {'accuracy': scores.accuracy, 'mean_iou': scores.mean_iou},
        'class_accuracy': scores.class_accuracy,
        'class_iou': scores.class_iou,
        'confusion': confusion.tolist(),
    }


def line(name: str, scores: Scores) -> str:
    """A line of a table of scores for people, see `HEADER`."""
    return f'{name:30}{scores.accuracy:10.4f}{scores.mean_iou:10.4f}'


HEADER = f'{"":30}{"accuracy":>10}{"mIoU":>10}'
