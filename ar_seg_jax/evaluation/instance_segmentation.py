"""The evaluator of segmentations into objects: each image by itself, beside predictors that learned nothing of objects."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int, UInt8

from ar_seg_jax import sharding
from ar_seg_jax.data import images, pipeline
from ar_seg_jax.data.classes import numbered, objects
from ar_seg_jax.errors import UserError
from ar_seg_jax.evaluation import instances, trivial
from ar_seg_jax.evaluation.evaluator import Batches, Column, Findings, Subject
from ar_seg_jax.evaluation.trivial import Trivial
from ar_seg_jax.interfaces import Batch, ModelState, Outputs, predicted_shapes, sides

_FOLLOWED = ('mean_iou', 'ari_fg', 'msc_fg')  # what people read during training
_VIEWS = ('background', 'reconstruction')  # what pictures show of an image where a method predicts it
_NAMED = 5  # images, in a line

Image = UInt8[np.ndarray, 'height width channels']
OfImage = Mapping[str, float]  # its scores by name, NaN for those that it has not


@dataclasses.dataclass(frozen=True)
class Result:
    """Means of scores over images. segments: in words, what they are."""

    name: str
    segments: str
    scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Scored:
    """How many images of a split were scored, and the ids of those that have no object, and of those that have no label."""

    split: str
    count: int
    without_objects: Sequence[str]
    without_labels: Sequence[str]

    def in_words(self) -> str:
        empty = len(self.without_objects)
        return (
            f'mean over {self.count} images of {self.split!r}, each scored by itself, pixels without a label left out; mIoU: '
            'Hungarian matching of all segments and true masks, the background among them; ARI-FG and MSC-FG: over the '
            f'{self.count - empty} images with objects'
        )

    def left_out(self) -> list[str]:
        """Lines about the images that do not count everywhere."""
        return [
            f'  images without {what} ({len(ids)}): {", ".join(ids[:_NAMED])}{", ..." if len(ids) > _NAMED else ""}'
            for what, ids in (('objects', self.without_objects), ('labels', self.without_labels))
            if ids
        ]


class InstanceSegmentation:
    """Needs a method that predicts scores; a segment is where one of them is the largest, the first of equal ones. Where nothing
    has a label, reconstructions alone are scored, if the method makes any.

    baselines: also score the network before training, and what `trivial` has. threshold: of the difference from the median
    image, in levels of 255.
    """

    def __init__(self, subject: Subject, *, baselines: bool, threshold: float):
        method, data = subject.method, subject.data
        if not method.num_clusters:
            raise UserError(f'{method.title} predicts no clusters; take instances out of config.evaluators')
        if data.classes:
            raise UserError(
                'config.evaluators.instances scores objects, but labels of config.data are of classes '
                f'({data.classes[0].name}, ...); score them with config.evaluators.segmentation'
            )

        def predict(state: ModelState, image) -> Outputs:
            return method.predict(state.params, state.extra, image)

        def measure(state: ModelState, batch: Batch) -> tuple[Int[Array, 'batch _ _'], dict[str, Float[Array, 'batch']]]:
            """Contingency tables, and errors of reconstructions where there are some."""
            outputs = predict(state, batch['image'])
            tables = instances.contingency(jnp.argmax(outputs['scores'], axis=-1), batch['label'], method.num_clusters)
            if 'reconstruction' not in outputs:
                return tables, {}
            error = instances.squared_error(outputs['reconstruction'], batch['image'])
            return tables, {'mse': error, 'mse_per_value': error / batch['image'][0].size}

        self._subject, self._baselines, self._threshold = subject, baselines, threshold
        self._predict, self._measure = jax.jit(predict), jax.jit(measure)

    def follow(self, state: ModelState, batches: Batches) -> Findings:
        (own,), scored = self._evaluated({self._title(state): state}, {}, batches)
        words = [f'{instances.WORDS[name]} {own.scores[name]:.4f}' for name in _FOLLOWED if name in own.scores]
        words += [f'MSE {own.scores["mse"]:.4g}'] if 'mse' in own.scores else []
        return Findings(
            scalars={f'instances/{name}': value for name, value in own.scores.items()},
            lines=['  '.join([*words, f'({scored.count} labelled images of {scored.split!r})'])] if words else [],
            columns=[self._column(state)],
        )

    def report(self, state: ModelState, batches: Batches) -> Findings:
        networks, others = {self._title(state): state}, {}
        if self._baselines and self._subject.data.instances:
            others = self._trivial()
            untrained = self._subject.untrained() if int(state.step) else None  # before that the network itself is one
            networks |= {} if untrained is None else {self._subject.untrained_title: untrained}
        results, scored = self._evaluated(networks, others, batches)
        results = [result for result in results if result.scores]
        if not results:
            lines = ['The data has no labels: nothing was scored.']
            return Findings(lines=lines, columns=[self._column(state)])
        entries = [
            {
                'name': result.name,
                'protocol': f'instances:{scored.split}',
                'in_words': f'segments: {result.segments}; {scored.in_words()}',
                'scores': dict(result.scores),
            }
            for result in results
        ]
        return Findings(
            content={'results': entries, 'images': dataclasses.asdict(scored)},
            lines=['', scored.in_words(), _HEADER, *map(_line, results), *scored.left_out()],
            columns=[self._column(state)],
        )

    def _title(self, state: ModelState) -> str:
        return f'{self._subject.method.title}, step {int(state.step)}'

    def _trivial(self) -> dict[str, Trivial]:
        subject = self._subject
        sample = list(subject.data.whole_sample())
        shape = pipeline.decode(subject.data.examples(subject.split)[0])['image'].shape
        if crop := subject.data.evaluation_options['crop_size']:
            shape = (*sides(crop), shape[2])
        return trivial.predictors(sample, subject.method.num_clusters, subject.seed, self._threshold, shape)

    def _evaluated(
        self, networks: Mapping[str, ModelState], others: Mapping[str, Trivial], batches: Batches
    ) -> tuple[list[Result], Scored]:
        """The results of networks and others, in this order; the split is read once."""
        split, data = self._subject.split, self._subject.data
        found: dict[str, list[OfImage]] = {name: [] for name in (*networks, *others)}
        numbers = []
        for places, batch in zip(data.evaluation_places(split), batches(split), strict=True):
            there = np.flatnonzero(places >= 0).tolist()
            numbers += places[there].tolist()
            for name, state in networks.items():
                tables, errors = multihost_utils.process_allgather(self._measure(state, batch), tiled=True)
                found[name] += [_of_network(tables[place], errors, place) for place in there]
            whole = multihost_utils.process_allgather(batch, tiled=True) if others else {}
            for name, other in others.items():
                found[name] += [instances.of_maps(other.predict(whole['image'][place]), whole['label'][place]) for place in there]
        words = dict.fromkeys(networks, f'the likeliest of {self._subject.method.num_clusters} scores')
        words |= {name: other.segments for name, other in others.items()}
        results = [Result(name, words[name], instances.means(of_images)) for name, of_images in found.items()]
        return results, self._scored(numbers, next(iter(found.values())))

    def _scored(self, numbers: Sequence[int], of_images: Sequence[OfImage]) -> Scored:
        """numbers: of the examples that the images are."""
        split = self._subject.split
        examples = self._subject.data.examples(split)

        def ids(chosen: Callable[[OfImage], bool]) -> list[str]:
            pairs = zip(numbers, of_images, strict=True)
            return [pipeline.decode(examples[number])['id'] for number, image in pairs if chosen(image)]

        without_labels = ids(lambda image: np.isnan(image['ari']))
        without_objects = ids(lambda image: np.isnan(image['ari_fg']) and not np.isnan(image['ari']))
        return Scored(split, len(numbers) - len(without_labels), without_objects, without_labels)

    def _column(self, state: ModelState) -> Column:
        method, local = self._subject.method, sharding.local(state)
        outputs = predicted_shapes(method, self._subject.data.image_shape)

        def of_image(image: Image, name: str) -> np.ndarray:
            """What is predicted, at the size that the method wants."""
            fitting = images.resize(image, *method.image_size) if method.image_size else image
            return np.asarray(self._predict(local, fitting[None])[name])[0]

        def label_map(image: Image) -> UInt8[np.ndarray, 'height width']:
            return images.resize(of_image(image, 'scores').argmax(-1).astype(np.uint8), *image.shape[:2], label=True)

        def view(name: str, image: Image) -> Image:
            return images.resize(np.uint8(np.round(255 * of_image(image, name))), *image.shape[:2])

        count = method.num_clusters
        named = objects(count - 1) if 'glimpses' in outputs else numbered('segment', count)
        views = {name: functools.partial(view, name) for name in _VIEWS if name in outputs}
        return Column(method.title, label_map, named, views)


def _of_network(table: instances.Table, errors: Mapping[str, Float[np.ndarray, 'batch']], place: int) -> OfImage:
    return instances.scores(table) | {name: float(values[place]) for name, values in errors.items()}


def _line(result: Result) -> str:
    cells = [f'{result.scores[name]:12.4f}' if name in result.scores else f'{"-":>12}' for name in instances.WORDS]
    error = f'{result.scores["mse"]:12.4g}' if 'mse' in result.scores else f'{"-":>12}'
    return f'{result.name:30}{"".join(cells)}{error}'


_HEADER = f'{"":30}' + ''.join(f'{words:>12}' for words in (*instances.WORDS.values(), 'MSE'))
