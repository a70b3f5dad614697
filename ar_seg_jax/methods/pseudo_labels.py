"""What DeepCluster and PiCIE share: clusters of the features of all images, sought before each epoch, label it.

Labels are not kept but made again by what made them: a teacher, which is the network as it was when clusters were sought, and
the centroids. What is random about an image follows from its pixels and from the key of the epoch, so that it is clustered,
labelled and learned from in the same colours and the same part. (Cho et al. 2021 draw these numbers for all images before each
epoch.)
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ar_seg_jax.epochs import Cadence
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Method, Model, Params
from ar_seg_jax.methods import readout
from ar_seg_jax.methods.views import Drawn, Images, Input, PairedViews
from ar_seg_jax.objectives import clustering, k_means, labels
from ar_seg_jax.objectives.k_means import Block, Clusters

Maps = Float[Array, 'batch map_height map_width _']
Variables = Mapping[str, Any]  # 'params' and 'batch_stats' of the network

_HEAD = 'projection'


@dataclasses.dataclass(frozen=True)
class Search:
    """How clusters are sought.

    initial_batches, iterations: see `k_means.find`, which begins with so many batches; each of the others of an epoch then moves
        the centroids once. The whitening of `deep_cluster` is of the initial batches too, and so are the statistics of the
        network, see `PseudoLabelled`.
    vectors_of_image: places of each image that are drawn for it; 0 takes all. PiCIE's 20 batches of 256 images with 6400
        places each are 17 GB, and neighbouring places say nearly the same. k-means also needs one
        number for each vector of a batch and each cluster.
    """

    initial_batches: int
    iterations: int
    vectors_of_image: int

    def __post_init__(self):
        for name, least in (('initial_batches', 1), ('iterations', 0), ('vectors_of_image', 0)):
            if getattr(self, name) < least:
                raise UserError(f'method.{name} is at least {least}, found {getattr(self, name)}')

    def sampled(self, maps: Maps, counted: Bool[Array, 'batch map_height map_width'], keys: Key[Array, 'batch']) -> Block:
        """Places of each image; if there are enough, all of them count."""
        images, height, width, channels = maps.shape
        places = height * width
        vectors, counted = maps.reshape(images, places, channels), counted.reshape(images, places)
        if 0 < self.vectors_of_image < places:
            lots = jax.vmap(lambda key: jax.random.uniform(key, (places,)))(keys) - counted
            chosen = jnp.argsort(lots, axis=1)[:, : self.vectors_of_image]
            vectors = jnp.take_along_axis(vectors, chosen[..., None], axis=1)
            counted = jnp.take_along_axis(counted, chosen, axis=1)
        return Block(vectors, counted)

    def clusters(
        self, blocks: Iterator[Mapping[str, Block]], wanted: Mapping[str, tuple[str, int]], *, key: Key[Array, '']
    ) -> dict[str, Clusters]:
        """Clusters by name, from the blocks of all batches; `wanted` are the name of the block and the number of clusters."""
        initial = list(itertools.islice(blocks, self.initial_batches))
        found = {
            name: k_means.find([block[view] for block in initial], count, self.iterations, jax.random.fold_in(key, number))
            for number, (name, (view, count)) in enumerate(wanted.items())
        }
        for block in blocks:
            found = {name: k_means.update(clusters, block[wanted[name][0]]) for name, clusters in found.items()}
        return found


@dataclasses.dataclass(frozen=True)
class PseudoLabelled(Method):
    """A method whose network is trained with labels that clusters of its own features give.

    model: what is clustered is its head 'projection' or, without one, its features. Both are divided by their length, in
        float32 whatever the network computes in.
    num_clusters: for evaluation k-means sorts what was learned into so many, see `readout.by_k_means`: of vectors from some
        training batches. The released code of PiCIE and MDC makes one more pass of its search at the end, over places of all
        training images.

    Teachers look through running statistics, both for clusters and for labels. Before clusters are sought, the network looks at
    the initial batches of the search in the mode of training, which moves these statistics, so that those of a network drawn at
    random are not 0 and 1 when it labels the first epoch; training goes on from them. The released code of PiCIE labels through
    running statistics too, but seeks clusters in the mode of training, which moves them in every batch of the epoch: its
    centroids are not those of what is labelled. Statistics that config.frozen keeps stay in training; the teacher's move.
    """

    refresh_when = Cadence()

    model: Model
    num_clusters: int
    views: PairedViews
    search: Search

    @property
    def reach(self) -> int | None:
        return self.views.reach(self.model)

    @property
    def output_stride(self) -> int:
        return self.views.shrink * super().output_stride

    @property
    def first_cell(self) -> float | None:
        return self.views.first_cell(self.model)

    def check(self, image_shape, micro_batches):
        self.views.check(self.model)

    def to_pixels(self, maps, height, width):
        return self.views.to_pixels(self.model, maps, height, width)

    def readout(self, params: Params, extra: Extra, batches, *, key) -> Extra:
        return readout.by_k_means(self, params, extra, batches, key=key)

    def init_network(self, key: Key[Array, ''], image: Images) -> tuple[Variables, int]:
        """The network before training, and the channels of what is clustered of it."""
        maps, variables = self.model.init_with_output(key, self.views.whole(self.model, image))
        return {'params': variables['params'], BATCH_STATS: variables.get(BATCH_STATS, {})}, _clustered(maps).shape[-1]

    def init_extra(self, key: Key[Array, ''], variables: Variables, wanted: Mapping[str, int], channels: int) -> Extra:
        """What is kept besides parameters. `wanted`: numbers of clusters by name, which are drawn until they are sought."""

        def random_centroids(number: int, count: int):
            return clustering.unit(jax.random.normal(jax.random.fold_in(key, number), (count, channels)))

        return {
            BATCH_STATS: {'network': variables[BATCH_STATS]},
            'teacher': variables,
            'epoch_key': jax.random.key_data(key),
            'clusters': {
                name: Clusters(random_centroids(number, count), jnp.ones(count))
                for number, (name, count) in enumerate(wanted.items(), 1)
            },
            'centroids': random_centroids(0, self.num_clusters),
        }

    def student(self, params: Params, extra: Extra) -> Variables:
        """The network as it is trained."""
        return {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}

    def draw(self, extra: Extra, image: Images) -> Drawn:
        """What is random about images in this epoch."""
        return self.views.draw(image, jax.random.wrap_key_data(extra['epoch_key']))

    def vectors(self, variables: Variables, view: Input, key: Key[Array, ''] | None = None) -> tuple[Maps, Variables]:
        """What is clustered of a view, before it is divided by its length. With a key, that of dropout, the network is in
        training, and its statistics are new."""
        if key is None:
            return _clustered(self.model.apply(variables, view)), variables
        options = {'train': True, 'mutable': [BATCH_STATS], 'rngs': {'dropout': key}}
        maps, updated = self.model.apply(variables, view, **options)
        return _clustered(maps), {**variables, **updated}

    @abc.abstractmethod
    def vectors_of_views(
        self, variables: Variables, image: Images, drawn: Drawn, key: Key[Array, ''] | None = None
    ) -> tuple[dict[str, Maps], Variables]:
        """What is clustered of each view of images by its name, in cells that show the same places; see `vectors`."""

    def begin_epoch(
        self, params: Params, extra: Extra, batches: Iterator[Batch], *, key: Key[Array, '']
    ) -> tuple[Extra, Iterator[dict[str, Block]]]:
        """A new teacher, with statistics that the initial batches have moved, and what it makes of all batches.

        For networks with statistics the initial batches stay in memory until they are clustered: 40 of 128 images of 640 x 640
        pixels are 6.3 GB over all devices.
        """
        epoch_key, dropout_key = jax.random.split(key)
        extra = {**extra, 'epoch_key': jax.random.key_data(epoch_key)}
        student = self.student(params, extra)
        if jax.tree.leaves(student[BATCH_STATS]):
            initial = list(itertools.islice(batches, self.search.initial_batches))
            for number, batch in enumerate(initial):
                student = _settled(self, student, extra, batch, jax.random.fold_in(dropout_key, number))
            batches = itertools.chain(initial, batches)
        extra = {**extra, BATCH_STATS: {'network': student[BATCH_STATS]}, 'teacher': student}
        return extra, (_blocks(self, extra, batch) for batch in batches)

    def predicted(self, params: Params, extra: Extra, image) -> tuple[Maps, Maps]:
        """Of unchanged images: the features, and what is clustered, before it is divided by its length."""
        maps = self.model.apply(self.student(params, extra), self.views.whole(self.model, image))
        return maps['features'], _clustered(maps)

    def describe(self, metrics):
        return labels.in_words(metrics)


@functools.partial(jax.jit, static_argnums=0)
def _settled(method: PseudoLabelled, variables: Variables, extra: Extra, batch: Batch, key: Key[Array, '']) -> Variables:
    """With the statistics that a batch of training leaves behind."""
    image = batch['image']
    return method.vectors_of_views(variables, image, method.draw(extra, image), key)[1]


@functools.partial(jax.jit, static_argnums=0)
def _blocks(method: PseudoLabelled, extra: Extra, batch: Batch) -> dict[str, Block]:
    """Vectors of the views of a batch as the teacher sees them."""
    drawn = method.draw(extra, batch['image'])
    vectors, _ = method.vectors_of_views(extra['teacher'], batch['image'], drawn)
    counted = method.views.counted(method.model, next(iter(vectors.values())), batch, drawn)
    return {view: method.search.sampled(maps, counted, drawn.places) for view, maps in vectors.items()}


def heads(width: int) -> dict[str, int]:
    """Those of the model. width: channels of a linear map of the features that is clustered; 0 clusters these themselves."""
    if not 0 <= width <= 4096:
        raise UserError(f'method.width is at most 4096, or 0 for the features themselves; found {width}')
    return {_HEAD: width} if width else {}


def _clustered(maps: Mapping[str, Maps]) -> Maps:
    return maps.get(_HEAD, maps['features']).astype(jnp.float32)
