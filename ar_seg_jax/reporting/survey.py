"""One pass of the network over some images of a split: its clusters, and the images that are worth seeing."""

import collections
import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from ar_seg_jax.data import pipeline
from ar_seg_jax.data.classes import UNMATCHED, Class, Colour, classes_of, in_words
from ar_seg_jax.drawing import panels
from ar_seg_jax.evaluation.shapes import Shape, of_clusters
from ar_seg_jax.interfaces import VOID
from ar_seg_jax.reporting import crops, encoding
from ar_seg_jax.reporting.account import Cluster, Pictured
from ar_seg_jax.reporting.sight import Seen, Sight

COUNT = 60  # images that are looked at
_SIZES = 4  # of images, each of which is compiled; others are left out
_OF_A_GROUP = 2  # images that are shown


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was seen of a split.

    mapping: the class of each cluster, UNMATCHED for none. classes: their names and colours. labelled: whether labels are of
    the first of these classes.
    """

    examples: Sequence[pipeline.Example]
    split: str
    seen: Sequence[Seen]
    mapping: Sequence[int]
    classes: Sequence[Class]
    labelled: bool

    def clusters(self, shapes: Sequence[Shape] = ()) -> list[Cluster]:
        """Of all images that were seen; `shapes` are those that are known better."""
        shapes = shapes or of_clusters(sum(one.counts.astype(np.int64) for one in self.seen))
        typical = {number: crops.typical(self.seen, number) for number in range(len(self.mapping))}
        sheets = crops.sheets(typical, lambda index: pipeline.decode(self.examples[index])['image'])
        return [
            Cluster(number, *self._named(number), shapes[number], self._mean_colour(number), sheets.get(number))
            for number in range(len(self.mapping))
        ]

    def _named(self, cluster: int) -> tuple[str | None, Colour]:
        """Name and colour of a cluster, as label maps have them."""
        place = self.mapping[cluster]
        return (None, (0, 0, 0)) if place == UNMATCHED else self.classes[place][:2]

    def _mean_colour(self, cluster: int) -> tuple[int, int, int] | None:
        pixels = sum(int(one.counts[cluster].sum()) for one in self.seen)
        colours = sum(one.colours[cluster] for one in self.seen)
        return tuple(round(level) for level in (colours / pixels).tolist()) if pixels else None

    def ranked(self) -> str:
        """Among which images those that are shown were chosen, and by what, in words."""
        among = f'{len(self.seen)} of {len(self.examples)} images of {self.split!r}'
        if self._accuracies() is not None:
            return f'the best, median and worst of {among}, by the share of their labelled pixels that have the right class'
        return f'the most and least certain of {among}, by the mean over their pixels of the score of the likeliest cluster'

    def pictured(self) -> list[Pictured]:
        """Best, median and worst images; without labels the most and the least certain."""
        accuracies = self._accuracies()
        if accuracies is not None:
            return [
                self._picture(place, group, float(accuracies[place]))
                for group, places in panels.ranked(accuracies, _OF_A_GROUP).items()
                for place in places
            ]
        certainties = np.array([one.certainty for one in self.seen])
        groups = panels.ranked(certainties, _OF_A_GROUP + 1)
        return [
            self._picture(place, title, float(certainties[place]))
            for group, title in (('best', 'most certain'), ('worst', 'least certain'))
            for place in groups[group]
        ]

    def asked_for(self, identifiers: Collection[str]) -> list[Pictured]:
        """Those of these images that were seen."""
        found = [place for place, one in enumerate(self.seen) if one.identifier in identifiers]
        return [self._picture(place, 'asked for', self.seen[place].certainty) for place in found]

    def _accuracies(self) -> np.ndarray | None:
        """Of each image; None where nothing can be compared."""
        if not self.labelled:
            return None
        found = [
            panels.pixel_accuracy(self._labels(one)[None], pipeline.decode(self.examples[one.index])['label'][None])[0]
            for one in self.seen
        ]
        return None if np.isnan(found).all() else np.array(found)

    def _labels(self, one: Seen) -> np.ndarray:
        """VOID where there is no class, and no data."""
        return np.where(one.counted, classes_of(one.clusters, np.array(self.mapping)), VOID).astype(np.uint8)

    def _picture(self, place: int, group: str, score: float) -> Pictured:
        one = self.seen[place]
        example, labels = pipeline.decode(self.examples[one.index]), self._labels(one)
        name, truth = one.identifier, example['label']
        of_labels = None
        if self.labelled and (truth != VOID).any():
            of_labels = encoding.painted(truth, self.classes, f'labels of {name}: {in_words(truth, self.classes)}')
        return Pictured(
            name,
            group,
            score,
            encoding.photograph(example['image'], f'image {name}'),
            encoding.painted(labels, self.classes, f'label map of {name}: {in_words(labels, self.classes)}'),
            of_labels,
        )


def survey(
    sight: Sight,
    examples: Sequence[pipeline.Example],
    split: str,
    mapping: Sequence[int],
    classes: Sequence[Class],
    labelled: bool,
) -> Survey:
    """Of up to COUNT images of a split, evenly spread, and of their commonest sizes only; those without data are left out."""
    places = pipeline.evenly_spread(len(examples), COUNT)
    sizes = {place: pipeline.decode(examples[place])['image'].shape for place in places}
    commonest = [size for size, _ in collections.Counter(sizes.values()).most_common(_SIZES)]
    chosen = [place for place in places if sizes[place] in commonest]
    seen = [one for one in sight.look(examples, chosen) if one.counted.any()]
    return Survey(examples, split, seen, mapping, classes, labelled)
