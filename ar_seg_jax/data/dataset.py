"""A prepared data set, and how a run reads it."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from ar_seg_jax import sharding
from ar_seg_jax.data import beside, encodings, pipeline, superpixels
from ar_seg_jax.data.builder import SegmentationBuilder
from ar_seg_jax.data.classes import Class
from ar_seg_jax.epochs import Epochs
from ar_seg_jax.interfaces import Batch, Encoder, Guard, Size, sides

_SAMPLE = 20  # batches of the training split from which methods and baselines draw vectors


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Batches of the splits of a data set, for a mesh of devices.

    options: of `pipeline.training_iterator`, `batch_size` and `crop_size` among them. evaluation_options: `batch_size`,
    where a split has so many images, and `crop_size` of evaluation. boxes: whether training batches say where their crops are
    from. region_size: pixels of superpixels, which training batches have, on average; 0 for none.
    """

    builder: SegmentationBuilder
    train_split: str
    options: Mapping[str, Any]
    evaluation_options: Mapping[str, int | Size]
    mesh: Mesh
    seed: int
    boxes: bool = False
    region_size: int = 0

    @property
    def classes(self) -> tuple[Class, ...]:
        """Empty where there are no labels, or where these are instances."""
        return self.builder.builder_config.classes

    @property
    def instances(self) -> bool:
        """Whether labels are numbers of objects, see `SegmentationConfig`."""
        return self.builder.builder_config.instances

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """Shape of a global training batch of images."""
        return self.options['batch_size'], *sides(self.options['crop_size']), self.builder.builder_config.channels

    @functools.cached_property
    def epochs(self) -> Epochs:
        """Which of the training batches are which pass over the training split."""
        return Epochs(len(self.examples(self.train_split)), self.image_shape[0])

    def examples(self, split: str) -> pipeline.Prepared:
        return pipeline.source(self.builder, split)

    def training(self, start: int, encoder: Encoder | None = None, guard: Guard = iter) -> Iterator[Batch]:
        """This process's batches, endlessly, from the one that follows step `start`; in parts, if the options say so.

        With an encoder they are `encoded`; `guard` is around what is computed before the first one, see `beside.source`.
        """
        options, parts = {'start': start, **_processes()}, []
        if self.region_size:
            parts.append(superpixels.part(self.region_size))
        if encoder:
            parts.append(encodings.part(encoder))
            options['cell'] = encoder.stride
        return self._batches(beside.source(self.builder, self.train_split, parts, guard), **options)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The training batches with images of this pass, from 0, as global batches on the devices, read when asked for.

        Every training image is in one of them at least; where passes do not end with batches, some have images of the passes
        before and after it too.
        """
        numbers = self.epochs.batches(number)
        return self._on_devices(self.train_split, len(numbers), numbers.start)

    def sample(self) -> Iterator[Batch]:
        """The first training batches, as global batches on the devices, read when asked for."""
        return self._on_devices(self.train_split, _SAMPLE)

    def whole_sample(self) -> Iterator[Batch]:
        """The same, whole on every process, and not on its devices."""
        return itertools.islice(self._batches(self.examples(self.train_split), micro_batches=1), _SAMPLE)

    def shuffled(self, split: str, count: int) -> Iterator[Batch]:
        """`count` batches of random crops of a split, as global batches on the devices."""
        return self._on_devices(split, count)

    def evaluation(self, split: str) -> Iterable[Batch]:
        """A split once, as global batches on the devices."""
        crop_size, batch_size = self.evaluation_options['crop_size'], self._evaluation_batch(split)
        return self._placed(
            pipeline.evaluation_batches(self.examples(split), crop_size=crop_size, batch_size=batch_size, **_processes())
        )

    def evaluation_places(self, split: str) -> Iterator[Int[np.ndarray, 'batch']]:
        """Which example is where in the batches of `evaluation`, by its number in the split; -1 for places without one."""
        count, processes = len(self.examples(split)), jax.process_count()
        return pipeline.evaluation_places(count, batch_size=self._evaluation_batch(split), process_count=processes)

    def _evaluation_batch(self, split: str) -> int:
        """Images of this process: of a batch that is larger than the split no more than the devices need for it."""
        needed = -(-len(self.examples(split)) // self.mesh.size) * self.mesh.size
        return min(self.evaluation_options['batch_size'], needed) // jax.process_count()

    def _on_devices(self, split: str, count: int, start: int = 0) -> Iterator[Batch]:
        batches = self._batches(self.examples(split), micro_batches=1, start=start, **_processes())
        return self._placed(itertools.islice(batches, count))

    def _placed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        return (sharding.place(batch, sharding.split_batch(self.mesh)) for batch in batches)

    def _batches(self, examples: Sequence[pipeline.Example], **options: int) -> Iterator[Batch]:
        return pipeline.training_iterator(examples, seed=self.seed, boxes=self.boxes, **{**self.options, **options})


def _processes() -> dict[str, int]:
    return {'process_index': jax.process_index(), 'process_count': jax.process_count()}
