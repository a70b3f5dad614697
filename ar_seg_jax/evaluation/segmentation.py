"""The evaluator of segmentations: clusters against classes under protocols, beside baselines."""

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from ar_seg_jax import sharding
from ar_seg_jax.data.classes import classes_of, numbered
from ar_seg_jax.data.limits import DataError
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import baselines, scoring, shapes
from ar_seg_jax.evaluation.evaluator import Batches, Column, Findings, Subject, require_classes
from ar_seg_jax.evaluation.protocols import Names, Protocol
from ar_seg_jax.evaluation.scoring import Result
from ar_seg_jax.interfaces import Batch, ModelState, counted

_logger = logging.getLogger(__name__)


class Segmentation:
    """Needs a method that predicts scores; without labels it has nothing to score, and label maps of numbered clusters, whose
    shapes it tells in any case.

    protocols: how results are scored, see `Protocol.parse`; the first is followed during training, and names the clusters.
    baselines: also score the network before training, and k-means on pixels and on SIFT descriptors.
    """

    def __init__(self, subject: Subject, *, protocols: Sequence[str], baselines: bool):
        method, classes = subject.method, subject.data.classes
        if not method.num_clusters:
            raise UserError(f'{method.title} predicts no clusters; take segmentation out of config.evaluators')
        require_classes(subject, 'segmentation')

        def segment(state: ModelState, image):
            return jnp.argmax(method.predict(state.params, state.extra, image)['scores'], axis=-1)

        def measure(state: ModelState, batch: Batch, there: Bool[Array, 'batch']):
            clusters = segment(state, batch['image'])
            confusion = scoring.confusion_counts(clusters, batch['label'], method.num_clusters, len(classes))
            return confusion, shapes.counts(clusters, counted(batch) & there[:, None, None], method.num_clusters)

        self._subject = subject
        self._protocols = [Protocol.parse(text, subject.split) for text in protocols] if classes else []
        self._baselines = baselines
        if any(one.matching == 'one-to-one' for one in self._protocols) and method.num_clusters < len(classes):
            _logger.warning(
                '%d clusters for %d classes: matched one-to-one, at least %d classes have a score of 0; set '
                '--config.method.num_clusters=%d, or choose the matching many-to-one',
                method.num_clusters, len(classes), len(classes) - method.num_clusters, len(classes),
            )  # fmt: skip
        self._segment, self._measure = jax.jit(segment), jax.jit(measure)

    def follow(self, state: ModelState, batches: Batches) -> Findings:
        if not self._protocols:
            return dataclasses.replace(self._unscored(state, batches), content={}, lines=())
        (result,), found = self._evaluated(state, self._protocols[:1], batches)
        scores, classes = result.scores, self._subject.data.classes
        words = [
            f'accuracy {scores.accuracy:.4f}',
            f'mIoU {scores.mean_iou:.4f}',
            scoring.of_groups_in_words(scores, result.confusion, classes),
            f'clusters: {scoring.of_clusters_in_words(result.confusion)}',
            f'({result.protocol})',
        ]
        return Findings(
            scalars={f'{result.protocol.short}/{name}': value for name, value in self._by_name(result).items()},
            lines=['  '.join(filter(None, words))],
            warnings=found.warnings(),
            columns=[self._column(state, result)],
        )

    def report(self, state: ModelState, batches: Batches) -> Findings:
        if not self._protocols:
            return self._unscored(state, batches)
        step = int(state.step)
        own, found = self._evaluated(state, self._protocols, batches)
        named = self._named(step, own[0])
        shown = [*named, *own][0]
        rows = {f'{self._subject.method.title}, step {step}': [*own, *named]}
        if self._baselines and step > 0:  # before that the network itself is a baseline
            rows |= self._of_baselines(batches)
        return Findings(
            content={**self._content(rows), 'shapes': found.content()},
            lines=[*self._lines(rows), '', found.line()],
            warnings=found.warnings(),
            columns=[self._column(state, shown)],
            pictures={'confusion': functools.partial(self._draw_confusion, shown, step)},
        )

    def _named(self, step: int, result: Result) -> list[Result]:
        """What the names of a person are worth, on the split of another result; empty where there are none."""
        names = self._subject.names(step)
        if names is None:
            return []
        mapping = np.array(names)
        protocol = Names(result.protocol.scored_on)
        return [Result(protocol, scoring.score(result.confusion, mapping), mapping, result.confusion)]

    def _unscored(self, state: ModelState, batches: Batches) -> Findings:
        """What can be said without labels, or protocols."""
        what = 'No protocols are given' if self._subject.data.classes else 'The data has no labels'
        lines = [f'{what}: nothing was scored, and clusters have numbers instead of names.']
        columns = [self._column(state, None)]
        if jax.process_count() > 1:  # where one of them meets an image of another size, the others would wait for its part
            return Findings(lines=lines, columns=columns)
        try:
            _, found = self._evaluated(state, (), batches)
        except DataError as error:  # images of several sizes, of which nothing else here wants a batch
            return Findings(lines=[*lines, f'The shapes of clusters are not known: {error}'], columns=columns)
        return Findings(
            content={'shapes': found.content()}, lines=[*lines, found.line()], warnings=found.warnings(), columns=columns
        )

    def _evaluated(
        self, state: ModelState, protocols: Sequence[Protocol], batches: Batches
    ) -> tuple[list[Result], shapes.Shapes]:
        """Results under the protocols, and shapes on the split that the first one scores; each split is read once.

        Without protocols the shapes are those on the split of the subject.
        """
        split = protocols[0].scored_on if protocols else self._subject.split
        measured = {name: self._measured(state, name, batches) for name in scoring.splits(protocols) or [split]}
        confusions = {name: confusion for name, (confusion, _) in measured.items()}
        _, counts = measured[split]
        return scoring.results(protocols, confusions), shapes.Shapes(split, shapes.of_clusters(counts))

    def _measured(self, state: ModelState, split: str, batches: Batches) -> tuple[scoring.Confusion, shapes.Counts]:
        """Counts over a split; UserError if protocols want its labels and nothing in it is labelled."""
        confusion, counts = 0, 0
        for places, batch in zip(self._subject.data.evaluation_places(split), batches(split), strict=True):
            of_batch = self._measure(state, batch, places >= 0)
            confusion, counts = (
                total + np.asarray(more, np.int64) for total, more in zip((confusion, counts), of_batch, strict=True)
            )
        if self._protocols:
            scoring.require_labels(confusion, split)
        return confusion, counts

    def _of_baselines(self, batches: Batches) -> dict[str, list[Result]]:
        data, clusters, seed = self._subject.data, self._subject.method.num_clusters, self._subject.seed
        sample = list(data.whole_sample())
        colours = baselines.pixel_centroids(sample, clusters, seed)
        count = scoring.make_counter(baselines.nearest_centroid, clusters, len(data.classes))
        descriptors = baselines.sift_centroids(sample, clusters, seed)
        sift_count = baselines.make_sift_counter(clusters, len(data.classes))
        untrained = self._subject.untrained()
        networks = {} if untrained is None else {self._subject.untrained_title: untrained}
        return {
            **{name: self._evaluated(state, self._protocols, batches)[0] for name, state in networks.items()},
            'k-means on pixels': scoring.evaluate(count, colours, self._protocols, batches),
            'k-means on SIFT': scoring.evaluate(sift_count, descriptors, self._protocols, batches),
        }

    def _lines(self, rows: Mapping[str, Sequence[Result]]) -> list[str]:
        lines = []
        for index, own in enumerate(next(iter(rows.values()))):
            lines += ['', str(own.protocol), scoring.HEADER]
            lines += [scoring.line(name, results[index].scores) for name, results in rows.items() if index < len(results)]
            lines += self._details(own)
        return lines

    def _details(self, result: Result) -> list[str]:
        """Lines on the classes, their groups and the clusters."""
        scores, classes = result.scores, self._subject.data.classes
        of_classes = zip(classes, scores.class_accuracy, scores.class_iou, strict=True)
        words = (f'{entry.name} {accuracy:.3f}, {iou:.3f}' for entry, accuracy, iou in of_classes)
        groups = scoring.of_groups_in_words(scores, result.confusion, classes)
        return [
            f'  class (accuracy, IoU): {"; ".join(words)}',
            *([f'  group (accuracy, mIoU): {groups}'] if groups else []),
            f'  clusters: {scoring.of_clusters_in_words(result.confusion)}',
        ]

    def _by_name(self, result: Result) -> dict[str, float]:
        """All single numbers about a clustering, as records, JSON and tables call them."""
        scores = scoring.by_name(result.scores, result.confusion, self._subject.data.classes)
        return scores | scoring.of_clusters(result.confusion)

    def _content(self, rows: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
        """All numbers, and the class of each cluster under the first protocol."""
        own = next(iter(rows.values()))[0]
        return {
            'results': [
                {
                    'name': name,
                    'protocol': result.protocol.short,
                    'in_words': str(result.protocol),
                    **scoring.content(self._by_name(result), result.scores, result.confusion),
                }
                for name, results in rows.items()
                for result in results
            ],
            'clusters': {
                'protocol': str(own.protocol),
                'mapping': own.mapping.tolist(),
                'classes': [entry._asdict() for entry in self._subject.data.classes],
            },
        }

    def _column(self, state: ModelState, result: Result | None) -> Column:
        local = sharding.local(state)

        def label_map(image):
            clusters = np.asarray(self._segment(local, image[None]))[0]
            return classes_of(clusters, result.mapping) if result else clusters

        clusters = numbered('cluster', self._subject.method.num_clusters)
        return Column(self._subject.method.title, label_map, self._subject.data.classes if result else clusters)

    def _draw_confusion(self, result: Result, step: int) -> bytes:
        from ar_seg_jax.drawing import plots  # Matplotlib takes half a second, which no first step should wait for

        title = f'{self._subject.method.title}, step {step}'
        return plots.png(plots.confusion(result.confusion, result.mapping, self._subject.data.classes, title))
