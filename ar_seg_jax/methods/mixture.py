"""A Gaussian mixture of what pixels look like and where they are."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ar_seg_jax.augmentations import inputs
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Cadence, Extra, Method, Metrics, Model, Outputs, Params, Remark
from ar_seg_jax.methods import clusters, void
from ar_seg_jax.methods.pseudo_labels import Maps, Search
from ar_seg_jax.objectives import clustering, k_means, layouts
from ar_seg_jax.objectives.gaussian_mixture import Components, Moments
from ar_seg_jax.objectives.k_means import Block
from ar_seg_jax.objectives.layouts import Boxes, Layout
from ar_seg_jax.objectives.mutual_information import box_filter

_FORGETTING = 0.6  # the power of the number of a step by which its rate falls; between 1/2 and 1 (Cappé and Moulines 2009)
_ROUNDS = 5  # of the smoothing
_DOUBT = 1e-4  # probability that a pixel has a cluster which none around it has


@dataclasses.dataclass(frozen=True)
class Mixture(Method):
    """Clusters are Gaussians with full covariances, found by online EM in features of pixels; not in the papers.

    Clusters of k-means are round and alike, those of greatest mutual information as even as they can be. These may be long and
    of very uneven size. Training starts from k-means; a step is one of EM with the pixels of its batch. There are no gradients.

    model: its features are what is clustered; it is not trained.
    layout: places of each side of a map of what the training images show there on average (`layouts`), which is appended to the
        features of each pixel; 0 for none. It tells the grey of a road from that of a sky, and says little where images have no
        up and down. Images must be whole then.
    shrinkage: see `Components.of`.
    smoothing: pixels to each side; what clusters the pixels around have is what each is thought to have before it is looked at,
        five times over (mean field of a Potts model). 0 judges each pixel by itself. For predictions only.
    search: how k-means is done.
    """

    title = 'Mixture'
    loss_in_words = 'minus the log-likelihood of the features of a pixel in nats'
    refresh_when = Cadence(0)

    model: Model
    num_clusters: int
    layout: int
    shrinkage: float
    smoothing: int
    search: Search

    def __post_init__(self):
        for name in ('layout', 'smoothing'):
            if getattr(self, name) < 0:
                raise UserError(f'method.{name} is at least 0, found {getattr(self, name)}')
        if not 0 <= self.shrinkage <= 1:
            raise UserError(f'method.shrinkage is 0 to 1, found {self.shrinkage}')

    @property
    def uses_place(self) -> bool:
        return self.layout > 0

    @property
    def tiled(self) -> bool:
        return self.reach is not None

    @property
    def reach(self) -> int | None:
        if self.layout or self.model.reach is None:
            return None
        return self.model.reach + _ROUNDS * self.smoothing

    def init(self, key, image):
        maps, variables = self.model.init_with_output(key, inputs.model_input(self.model, image))
        channels = maps['features'].shape[-1]
        clustered = 2 * channels if self.layout else channels
        extra = {
            BATCH_STATS: {'network': variables.get(BATCH_STATS, {})},
            'layout': Layout.none(self.layout, channels) if self.layout else (),
            'offset': jnp.zeros(clustered),
            'scale': jnp.ones(()),
            'moments': Moments.none(self.num_clusters, clustered),
        }
        return {'network': variables.get('params', {})}, extra

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        maps = self._features(params, extra, batch['image'])
        vectors, counted = self._vectors(extra, maps, _boxes(batch)), self._counted(batch, maps)
        joint = self._components(extra).log_joint(vectors)
        found = Moments.of(vectors, jax.nn.softmax(joint), counted)
        rate = jnp.where(counted.any(), (time.step + 2.0) ** -_FORGETTING, 0)
        outputs = {
            'log_likelihood': jnp.sum(jax.nn.logsumexp(joint, axis=-1) * counted, (1, 2)),
            'counted': jnp.sum(counted, (1, 2), jnp.float32),
            'shares': jnp.sum(jax.nn.softmax(joint) * counted[..., None], (1, 2)),
        }
        return outputs, {**extra, 'moments': extra['moments'].towards(found, rate)}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        total = jnp.maximum(outputs['counted'].sum(), 1)
        shares = outputs['shares'].sum(0) / total
        entropy = -jnp.sum(shares * jnp.log(jnp.maximum(shares, 1e-12)))
        return -outputs['log_likelihood'].sum() / total, {'entropy': entropy, 'entropy_bound': jnp.log(float(self.num_clusters))}

    def refresh(self, params: Params, extra: Extra, batches, *, key, time) -> tuple[Params, Extra]:
        """Before the first step: what images show where, from all of them, and k-means of the initial batches of the search."""
        sample_key, search_key = jax.random.split(key)
        initial = list(itertools.islice(batches, self.search.initial_batches))
        extra = {**extra, 'offset': jnp.zeros_like(extra['offset']), 'scale': jnp.ones(())}
        if self.layout:
            layout = jax.tree.map(jnp.zeros_like, extra['layout'])
            for batch in itertools.chain(initial, batches):
                layout = _with_batch(self, params, extra, layout, batch)
            extra = {**extra, 'layout': layout}
        blocks = [_sampled(self, params, extra, batch, sample_key) for batch in initial]
        block = Block(*(jnp.concatenate(parts) for parts in zip(*blocks, strict=True)))
        offset, scale = _spread(block, extra['layout'].sums.shape[-1] if self.layout else block.vectors.shape[-1])
        block = Block((block.vectors - offset[None, None]) / scale, block.counted)
        found = k_means.find([block], self.num_clusters, self.search.iterations, search_key)
        return params, {**extra, 'offset': offset, 'scale': scale, 'moments': _moments_of(block, found.centroids)}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        maps = self._features(params, extra, image)
        joint = self._components(extra).log_joint(self._vectors(extra, maps, layouts.whole(len(image))))
        scores = _smoothed(self.to_pixels(joint, *image.shape[1:3]), self.smoothing)
        return Outputs(scores=scores, features=maps, logits=joint)

    def describe(self, metrics) -> Remark:
        return Remark(f'H(y) {metrics["entropy"]:.3f} of at most {metrics["entropy_bound"]:.3f} nats')

    def _features(self, params: Params, extra: Extra, image) -> Maps:
        variables = {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}
        return jax.lax.stop_gradient(self.model.apply(variables, inputs.model_input(self.model, image))['features'])

    def _vectors(self, extra: Extra, maps: Maps, boxes: Boxes) -> Maps:
        """What is clustered: centred, and of a variance of about 1."""
        if self.layout:
            maps = jnp.concatenate([maps, extra['layout'].at(*maps.shape[1:3], boxes)], axis=-1)
        return (maps - extra['offset'][None, None, None]) / extra['scale']

    def _components(self, extra: Extra) -> Components:
        return Components.of(extra['moments'], self.shrinkage)

    def _counted(self, batch: Batch, maps: Maps):
        return void.at_cells(batch, *maps.shape[1:3], self.first_cell)


def _boxes(batch: Batch) -> Boxes:
    return batch['box'] if 'box' in batch else layouts.whole(len(batch['image']))


@functools.partial(jax.jit, static_argnums=0)
def _with_batch(method: Mixture, params: Params, extra: Extra, layout: Layout, batch: Batch) -> Layout:
    maps = method._features(params, extra, batch['image'])
    return layout.with_maps(maps, method._counted(batch, maps), _boxes(batch))


@functools.partial(jax.jit, static_argnums=0)
def _sampled(method: Mixture, params: Params, extra: Extra, batch: Batch, key) -> Block:
    maps = method._features(params, extra, batch['image'])
    vectors = method._vectors(extra, maps, _boxes(batch))
    return method.search.sampled(vectors, method._counted(batch, maps), inputs.keys_of(batch['image'], key))


@functools.partial(jax.jit, static_argnums=1)
def _spread(block: Block, channels: int) -> tuple[Float[Array, '_'], Float[Array, '']]:
    """The mean of each channel, and one standard deviation for all, that of the first `channels`: proportions stay."""
    weights = block.counted[..., None] / jnp.maximum(block.counted.sum(), 1)
    offset = jnp.sum(block.vectors * weights, (0, 1))
    variances = jnp.sum((block.vectors - offset[None, None]) ** 2 * weights, (0, 1))
    return offset, jnp.maximum(jnp.sqrt(variances[:channels].mean()), 1e-6)


@jax.jit
def _moments_of(block: Block, centroids: clustering.Centroids) -> Moments:
    memberships = jax.nn.one_hot(clustering.nearest(centroids, block.vectors), len(centroids))
    return Moments.of(block.vectors, memberships, block.counted)


def _smoothed(joint: Maps, radius: int) -> Maps:
    """Probabilities of clusters, from the logarithms of their shares times their densities; see `Mixture`."""
    scores = jax.nn.softmax(joint)
    if not radius:
        return scores
    seen = np.multiply.outer(*(_window(length, radius) for length in joint.shape[1:3]))[None, ..., None]
    for _ in range(_ROUNDS):
        scores = jax.nn.softmax(joint + jnp.log(box_filter(scores, radius) / seen + _DOUBT))
    return scores


def _window(length: int, radius: int) -> np.ndarray:
    """How many pixels of a side are at most so far from each of them."""
    places = np.arange(length)
    return (np.minimum(places + radius, length - 1) - np.maximum(places - radius, 0) + 1).astype(np.float32)


def build(
    make_model: Callable[..., Model],
    *,
    num_clusters: int,
    layout: int,
    shrinkage: float,
    smoothing: int,
    initial_batches: int,
    iterations: int,
    vectors_of_image: int,
) -> Mixture:
    """From the options of config.method; see `Mixture` and `Search`."""
    clusters.check(num_clusters)
    search = Search(initial_batches, iterations, vectors_of_image)
    return Mixture(make_model(heads={}), num_clusters, layout, shrinkage, smoothing, search)
