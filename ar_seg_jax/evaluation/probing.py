"""The evaluator of features: probes of the frozen network, scored beside each other."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ar_seg_jax import sharding
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import scoring
from ar_seg_jax.evaluation.evaluator import Batches, Column, Findings, Subject, require_classes
from ar_seg_jax.evaluation.probes import TAPS, Probes
from ar_seg_jax.interfaces import ModelState, Outputs, predicted_shapes

_logger = logging.getLogger(__name__)

_BATCHES = 100  # from which pixels are drawn, at most


class Probing:
    """Needs labels, and a method that predicts what the probes look at. Nothing is done during training.

    names, pixels and steps: see `Probes`. split: whose labels they are trained with; '' is the training split.
    """

    def __init__(self, subject: Subject, *, names: Sequence[str], split: str, pixels: int, steps: int):
        require_classes(subject, 'probes')
        if names and subject.method.uses_place:
            raise UserError(
                f'{subject.method.title} looks at where in an image a pixel is, and probes are trained on crops; set '
                '"--config.evaluators.probes.names=()" or --config.method.layout=0'
            )
        self._subject = subject
        self._probes = Probes(tuple(names), pixels, steps)
        self._trained_on = split or subject.data.train_split
        if names and subject.data.classes:
            _check_taps(subject, self._probes.full_names)

    def follow(self, state: ModelState, batches: Batches) -> Findings:
        return Findings()

    def report(self, state: ModelState, batches: Batches) -> Findings:
        """Trains the probes, and scores them on the split of the subject."""
        data, probes = self._subject.data, self._probes
        classes, scored_on = len(data.classes), self._subject.split
        if not classes or not probes.names:
            return Findings()
        to_pixels, seed = self._subject.method.to_pixels, self._subject.seed
        count = max(1, min(_BATCHES, len(data.examples(self._trained_on)) // data.image_shape[0]))
        batches_of_sample = data.shuffled(self._trained_on, count)
        features, label = probes.sample(self._predict, to_pixels, state, batches_of_sample, count * data.image_shape[0], seed)
        if not label.size:
            _logger.info(
                'No probes: nothing in %r has a label; --config.evaluators.probes.split names another split', self._trained_on
            )
            return Findings()
        trained = probes.train(features, label, classes, seed)
        in_words = probes.in_words(label.size, self._trained_on, scored_on)
        content, lines, columns = [], ['', f'probes {in_words}'], []
        for name in probes.full_names:
            segment = probes.segment(self._predict, to_pixels, name, classes)
            count = scoring.make_counter(segment, classes, classes)
            confusion = scoring.confusion(count, (state, trained), scored_on, batches(scored_on))
            scores = scoring.score(confusion, np.arange(classes))
            title, numbers = _title(name), scoring.by_name(scores, confusion, data.classes)
            content.append({'name': name, 'in_words': f'{title} {in_words}', **scoring.content(numbers, scores, confusion)})
            lines.append(scoring.line(title, scores))
            columns.append(self._column(name, segment, state, trained))
        return Findings(content={'results': content}, lines=lines, columns=columns)

    def _predict(self, state: ModelState, image) -> Outputs:
        return self._subject.method.predict(state.params, state.extra, image)

    def _column(self, name: str, segment: Callable, state: ModelState, trained: Any) -> Column:
        compiled, local = jax.jit(segment), (sharding.local(state), trained)

        def label_map(image):
            return np.asarray(compiled(local, image[None]))[0]

        return Column(name.removesuffix(':features'), label_map, self._subject.data.classes)


def _check_taps(subject: Subject, names: Sequence[str]):
    """UserError if a probe looks at what the method does not predict; found from shapes alone."""
    method = subject.method
    outputs = predicted_shapes(method, subject.data.image_shape)
    for name in names:
        _, tap = name.split(':')
        if tap not in outputs:
            there = ', '.join(other for other in TAPS if other in outputs) or 'nothing'
            raise UserError(
                f'config.evaluators.probes.names: {method.title} predicts no {tap} for {name!r}; the taps that it has are {there}'
            )


def _title(name: str) -> str:
    kind, tap = name.split(':')
    return f'{kind} probe of {tap}'
