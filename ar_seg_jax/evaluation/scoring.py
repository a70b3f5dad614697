"""How well clusters agree with classes: confusion matrices and scores."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from ar_seg_jax.data.classes import UNMATCHED, Class
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation.protocols import Names, Protocol
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

    protocol: Protocol | Names
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


def confusion_of_maps(
    predicted: UInt8[np.ndarray, 'height width'], label: UInt8[np.ndarray, 'height width'], num_values: int, num_classes: int
) -> Int[np.ndarray, 'values classes']:
    """Pixels of each predicted value and class of one image, and in a last row those whose prediction is VOID; pixels whose label
    is VOID are not counted. In NumPy, since images of unknown origin have many sizes, for each of which JAX would compile."""
    labelled = label != VOID
    values = np.minimum(predicted[labelled], num_values).astype(np.int64)
    cells = (num_values + 1) * num_classes
    return np.bincount(values * num_classes + label[labelled], minlength=cells).reshape(num_values + 1, num_classes)


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
    return results(protocols, {split: confusion(count, variables, split, batches(split)) for split in splits(protocols)})


def splits(protocols: Sequence[Protocol]) -> list[str]:
    """Those that results under the protocols are made of."""
    return list(dict.fromkeys(split for protocol in protocols for split in (protocol.matched_on, protocol.scored_on)))


def results(protocols: Sequence[Protocol], confusions: Mapping[str, Confusion]) -> list[Result]:
    """Results under each protocol from the counts over each of their splits."""
    found = []
    for protocol in protocols:
        mapping = protocol.fit(confusions[protocol.matched_on])
        scored = confusions[protocol.scored_on]
        found.append(Result(protocol, score(scored, mapping), mapping, scored))
    return found


def confusion(count: Count, variables: Any, split: str, batches: Iterable[Batch]) -> Confusion:
    """Counts over the batches of a split; UserError if nothing in them is labelled."""
    total = sum(np.asarray(count(variables, batch), np.int64) for batch in batches)
    require_labels(total, split)
    return total


def require_labels(confusion: Confusion, split: str):
    """UserError if nothing was counted in a split."""
    if not np.any(confusion):
        raise UserError(
            f'no pixel of split {split!r} has a label, so there is nothing to match or score; name labelled splits in '
            '--config.evaluation.split and --config.evaluators.segmentation.protocols'
        )


def score(confusion: Confusion, mapping: Int[np.ndarray, 'clusters']) -> Scores:
    """Scores of the clusters renamed by `mapping`, whose UNMATCHED clusters are wrong everywhere."""
    num_classes = confusion.shape[1]
    predicted = renamed(confusion, mapping)
    hits = np.diagonal(predicted)
    truth, guessed = predicted.sum(0), predicted[:num_classes].sum(1)
    with np.errstate(invalid='ignore'):
        iou = hits / (truth + guessed - hits)
        recall = hits / truth
    # A class that is neither in the labels nor predicted has no score; one that is only predicted has IoU 0.
    return Scores(float(hits.sum() / predicted.sum()), float(np.nanmean(iou)), tuple(recall.tolist()), tuple(iou.tolist()))


def renamed(confusion: Confusion, mapping: Int[np.ndarray, 'clusters']) -> Int[np.ndarray, 'taken classes']:
    """Pixels of each class (column) by the one that they are taken for; the last row is of UNMATCHED clusters."""
    num_classes = confusion.shape[1]
    predicted = np.zeros((num_classes + 1, num_classes), np.int64)
    np.add.at(predicted, np.where(mapping == UNMATCHED, num_classes, mapping), confusion)
    return predicted


def of_groups(scores: Scores, confusion: Confusion, classes: Sequence[Class]) -> dict[str, tuple[float, float]]:
    """Accuracy and mean IoU by group of classes, such as things and stuff, each a share of 0 to 1; empty without groups.

    Clusters have been matched with all classes before. Accuracy is over the pixels that are labelled with classes of the group,
    NaN where there are none; IoU is that among all classes. Not so in PiCIE's code: it counts only pixels that are also taken
    for a class of the group, so that things taken for stuff do no harm, and has the rows of the matrix at the number of the
    cluster instead of its class, so that the groups are made of arbitrary classes.
    """
    pixels, hits = confusion.sum(0), confusion.sum(0) * np.nan_to_num(scores.class_accuracy)
    found = {}
    for group in dict.fromkeys(entry.group for entry in classes if entry.group):
        own = np.array([entry.group == group for entry in classes])
        iou = np.array(scores.class_iou)[own]
        accuracy = hits[own].sum() / pixels[own].sum() if pixels[own].any() else np.nan
        found[group] = float(accuracy), float(np.nanmean(iou)) if np.isfinite(iou).any() else np.nan
    return found


def of_clusters(confusion: Confusion) -> dict[str, float]:
    """How evenly the pixels that are scored, those with a label, fall into clusters: a collapse that accuracy may hide.

    cluster_entropy: of their shares, in nats, 0 to the logarithm of the number of clusters. empty_clusters: share of the clusters
    that no such pixel falls into, 0 to 1.
    """
    pixels = confusion.sum(1)
    shares = pixels[pixels > 0] / pixels.sum()
    return {'cluster_entropy': float(np.sum(shares * np.log(1 / shares))), 'empty_clusters': float(np.mean(pixels == 0))}


def by_name(scores: Scores, confusion: Confusion, classes: Sequence[Class]) -> dict[str, float]:
    """Single numbers as records and tables call them; of groups they are called 'things_accuracy', 'things_mean_iou'."""
    numbers = {'accuracy': scores.accuracy, 'mean_iou': scores.mean_iou}
    for group, (accuracy, iou) in of_groups(scores, confusion, classes).items():
        numbers |= {f'{group}_accuracy': accuracy, f'{group}_mean_iou': iou}
    return numbers


def content(numbers: Mapping[str, float], scores: Scores, confusion: Confusion) -> dict[str, Any]:
    """All of it, as it is saved in JSON; `numbers` as `by_name` gives them."""
    return {
        'scores': dict(numbers),
        'class_accuracy': scores.class_accuracy,
        'class_iou': scores.class_iou,
        'confusion': confusion.tolist(),
    }


def line(name: str, scores: Scores) -> str:
    """A line of a table of scores for people, see `HEADER`."""
    return f'{name:30}{scores.accuracy:10.4f}{scores.mean_iou:10.4f}'


def of_groups_in_words(scores: Scores, confusion: Confusion, classes: Sequence[Class]) -> str:
    """Such as 'things 0.413, 0.210; stuff 0.600, 0.309', accuracy and mIoU; '' without groups."""
    groups = of_groups(scores, confusion, classes).items()
    return '; '.join(f'{group} {accuracy:.3f}, {iou:.3f}' for group, (accuracy, iou) in groups)


def of_clusters_in_words(confusion: Confusion) -> str:
    """Such as 'entropy 1.0912 of at most 1.7918 nats, 2 of 6 empty'."""
    found, count = of_clusters(confusion), len(confusion)
    empty = round(found['empty_clusters'] * count)
    return f'entropy {found["cluster_entropy"]:.4f} of at most {np.log(count):.4f} nats, {empty} of {count} empty'


HEADER = f'{"":30}{"accuracy":>10}{"mIoU":>10}'
