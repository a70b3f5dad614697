"""A Gaussian mixture of what pixels look like, where they are, and what an encoder says of them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ar_seg_jax.augmentations import inputs
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Cadence, Extra, Method, Metrics, Model, Outputs, Params, Remark
from ar_seg_jax.methods import clusters, void
from ar_seg_jax.methods.pseudo_labels import Maps, Search
from ar_seg_jax.objectives import clustering, k_means, layouts, whitening
from ar_seg_jax.objectives.gaussian_mixture import Components, Moments
from ar_seg_jax.objectives.k_means import Block
from ar_seg_jax.objectives.layouts import Boxes, Layout
from ar_seg_jax.objectives.mutual_information import box_filter
from ar_seg_jax.objectives.whitening import Whitening

Counted = Bool[Array, 'batch map_height map_width']

_FORGETTING = 0.6  # the power of the number of a step by which its rate falls; between 1/2 and 1 (Cappé and Moulines 2009)
_ROUNDS = 5  # of the smoothing
_DOUBT = 1e-4  # probability that a pixel has a cluster which none around it has


@dataclasses.dataclass(frozen=True)
class Mixture(Method):
    """Clusters are Gaussians with full covariances, found by online EM in features of pixels; not in the papers.

    Clusters of k-means are round and alike, those of greatest mutual information as even as they can be. These may be long and
    of very uneven size. Training starts from k-means; a step is one of EM with the pixels of its batch. There are no gradients.

    model: what it says of a place is clustered; it is not trained.
    components: 0 clusters the features of the model, which are colours for the model `colours`. Otherwise so many principal
        components of what an encoder says of a place, but not of its whole image (the mean over its places is taken away),
        beside the colours of the pixel. k-means then looks at the components alone, and these have one covariance for all
        clusters: one of their own would follow the images rather than what is in them.
    layout: places of each side of a map of the colours, or other features, that the training images show there on average
        (`layouts`), which is appended to those of each pixel; 0 for none. It tells the grey of a road from that of a house,
        where road and house differ on average, and says little where images have no up and down. Images must be whole then.
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
    components: int
    layout: int
    shrinkage: float
    smoothing: int
    search: Search

    def __post_init__(self):
        for name in ('components', 'layout', 'smoothing'):
            if getattr(self, name) < 0:
                raise UserError(f'method.{name} is at least 0, found {getattr(self, name)}')
        if not 0 <= self.shrinkage <= 1:
            raise UserError(f'method.shrinkage is 0 to 1, found {self.shrinkage}')

    @property
    def uses_place(self) -> bool:
        return self.layout > 0

    @property
    def reach(self) -> int | None:
        if self.layout or self.components or self.model.reach is None:
            return None
        return self.model.reach + _ROUNDS * self.smoothing

    @property
    def first_cell(self) -> float | None:
        return 0.0 if self.components else self.model.first_cell

    def to_pixels(self, maps, height, width):
        return maps if self.components else self.model.to_pixels(maps, height, width)

    def init(self, key, image):
        maps, variables = self.model.init_with_output(key, inputs.model_input(self.model, image))
        features = maps['features'].shape[-1]
        if self.components > features:
            raise UserError(
                f"method.components is at most the {features} channels of the model's features; found {self.components}"
            )
        free = image.shape[-1] if self.components else features
        own = 2 * free if self.layout else free
        extra = {
            BATCH_STATS: {'network': variables.get(BATCH_STATS, {})},
            'projection': Whitening.none(features, self.components) if self.components else (),
            'layout': Layout.none(self.layout, free) if self.layout else (),
            'offset': jnp.zeros(own),
            'scale': jnp.ones(()),
            'moments': Moments.none(self.num_clusters, own + self.components),
        }
        return {'network': variables.get('params', {})}, extra

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        vectors, counted = self._vectors(params, extra, batch)
        joint = self._log_joint(extra, vectors)
        memberships = jax.nn.softmax(joint)
        found = Moments.of(vectors, memberships, counted)
        rate = jnp.where(counted.any(), (time.step + 2.0) ** -_FORGETTING, 0)
        outputs = {
            'log_likelihood': jnp.sum(jax.nn.logsumexp(joint, axis=-1) * counted, (1, 2)),
            'shares': jnp.sum(memberships * counted[..., None], (1, 2)),
            'counted': jnp.sum(counted, (1, 2), jnp.float32),
        }
        return outputs, {**extra, 'moments': extra['moments'].towards(found, rate)}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        total = jnp.maximum(outputs['counted'].sum(), 1)
        shares = outputs['shares'].sum(0) / total
        entropy = -jnp.sum(shares * jnp.log(jnp.maximum(shares, 1e-12)))
        return -outputs['log_likelihood'].sum() / total, {'entropy': entropy, 'entropy_bound': jnp.log(float(self.num_clusters))}

    def refresh(self, params: Params, extra: Extra, batches, *, key, time) -> tuple[Params, Extra]:
        """Before the first step: principal components, from the initial batches of the search; what images show where, from all;
        and k-means of the initial ones."""
        cells_key, pixels_key, search_key = jax.random.split(key, 3)
        initial = list(itertools.islice(batches, self.search.initial_batches))
        if self.components:
            cells = [_sampled_cells(self, params, extra, batch, cells_key) for batch in initial]
            extra = {**extra, 'projection': whitening.find(cells, self.components, whiten=False)}
        if self.layout:
            layout = jax.tree.map(jnp.zeros_like, extra['layout'])
            for batch in itertools.chain(initial, batches):
                layout = _with_batch(self, params, extra, layout, batch)
            extra = {**extra, 'layout': layout}
        blocks = [_sampled_pixels(self, params, extra, batch, pixels_key) for batch in initial]
        own, projected = (Block(*map(jnp.concatenate, zip(*part, strict=True))) for part in zip(*blocks, strict=True))
        offset, scale = _spread(own, extra['layout'].sums.shape[-1] if self.layout else own.vectors.shape[-1])
        own = Block((own.vectors - offset[None, None]) / scale, own.counted)
        looked_at = projected if self.components else own
        found = k_means.find([looked_at], self.num_clusters, self.search.iterations, search_key)
        moments = _moments_of(own, projected, clustering.nearest(found.centroids, looked_at.vectors), self.num_clusters)
        return params, {**extra, 'offset': offset, 'scale': scale, 'moments': moments}

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        vectors, _ = self._vectors(params, extra, {'image': image})
        joint = self._log_joint(extra, vectors)
        scores = _smoothed(self.to_pixels(joint, *image.shape[1:3]), self.smoothing)
        return Outputs(scores=scores, features=vectors, logits=joint)

    def describe(self, metrics) -> Remark:
        return Remark(f'H(y) {metrics["entropy"]:.3f} of at most {metrics["entropy_bound"]:.3f} nats')

    def _vectors(self, params: Params, extra: Extra, batch: Batch) -> tuple[Maps, Counted]:
        """What is clustered, centred and of a variance of about 1; and which of it counts."""
        own, projected, counted = self._parts(params, extra, batch)
        own = (own - extra['offset'][None, None, None]) / extra['scale']
        return jnp.concatenate([own, projected], axis=-1), counted

    def _parts(self, params: Params, extra: Extra, batch: Batch) -> tuple[Maps, Maps, Counted]:
        """Colours (or features) with their layout, components of features, and what counts; of cells, or of pixels beside
        components."""
        own, projected, counted = self._free(params, extra, batch)
        if self.layout:
            own = jnp.concatenate([own, extra['layout'].at(*own.shape[1:3], _boxes(batch))], axis=-1)
        return own, projected, counted

    def _free(self, params: Params, extra: Extra, batch: Batch) -> tuple[Maps, Maps, Counted]:
        """The same without the layout."""
        image = batch['image']
        own = inputs.to_unit(image) if self.components else self._features(params, extra, image)
        projected = own[..., :0]
        if self.components:
            maps = extra['projection'](self._features(params, extra, image))
            projected = self.model.to_pixels(maps, *image.shape[1:3])
        return own, projected, void.at_cells(batch, *own.shape[1:3], self.first_cell)

    def _features(self, params: Params, extra: Extra, image) -> Maps:
        variables = {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}
        found = jax.lax.stop_gradient(self.model.apply(variables, inputs.model_input(self.model, image))['features'])
        return found - found.mean((1, 2), keepdims=True) if self.components else found

    def _log_joint(self, extra: Extra, vectors: Maps) -> Maps:
        return Components.of(extra['moments'], self.shrinkage, len(extra['offset'])).log_joint(vectors)


def _boxes(batch: Batch) -> Boxes:
    return batch['box'] if 'box' in batch else layouts.whole(len(batch['image']))


@functools.partial(jax.jit, static_argnums=0)
def _sampled_cells(method: Mixture, params: Params, extra: Extra, batch: Batch, key) -> Block:
    """What the model says of places of its maps."""
    maps = method._features(params, extra, batch['image'])
    counted = void.at_cells(batch, *maps.shape[1:3], method.model.first_cell)
    return method.search.sampled(maps, counted, inputs.keys_of(batch['image'], key))


@functools.partial(jax.jit, static_argnums=0)
def _with_batch(method: Mixture, params: Params, extra: Extra, layout: Layout, batch: Batch) -> Layout:
    own, _, counted = method._free(params, extra, batch)
    return layout.with_maps(own, counted, _boxes(batch))


@functools.partial(jax.jit, static_argnums=0)
def _sampled_pixels(method: Mixture, params: Params, extra: Extra, batch: Batch, key) -> tuple[Block, Block]:
    """What is clustered in the same places: colours or features, and components."""
    own, projected, counted = method._parts(params, extra, batch)
    keys = inputs.keys_of(batch['image'], key)
    return method.search.sampled(own, counted, keys), method.search.sampled(projected, counted, keys)


@functools.partial(jax.jit, static_argnums=1)
def _spread(block: Block, channels: int) -> tuple[Float[Array, '_'], Float[Array, '']]:
    """The mean of each channel, and one standard deviation for all, that of the first `channels`: proportions stay."""
    weights = block.counted[..., None] / jnp.maximum(block.counted.sum(), 1)
    offset = jnp.sum(block.vectors * weights, (0, 1))
    variances = jnp.sum((block.vectors - offset[None, None]) ** 2 * weights, (0, 1))
    return offset, jnp.maximum(jnp.sqrt(variances[:channels].mean()), 1e-6)


@functools.partial(jax.jit, static_argnums=3)
def _moments_of(own: Block, projected: Block, labels: Int[Array, 'images places'], num_clusters: int) -> Moments:
    vectors = jnp.concatenate([own.vectors, projected.vectors], axis=-1)
    return Moments.of(vectors, jax.nn.one_hot(labels, num_clusters), own.counted)


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
    components: int,
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
    return Mixture(make_model(heads={}), num_clusters, components, layout, shrinkage, smoothing, search)
