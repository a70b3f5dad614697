"""A Gaussian mixture of what pixels look like, where they are, and what an encoder says of them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ar_seg_jax import parallel
from ar_seg_jax.augmentations import inputs
from ar_seg_jax.epochs import Cadence
from ar_seg_jax.errors import UserError
from ar_seg_jax.interfaces import BATCH_STATS, Batch, Extra, Method, Metrics, Model, Outputs, Params, Remark
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
_COUPLING = 4.0  # nats that a cluster gains where all pixels around have it


@dataclasses.dataclass(frozen=True)
class Mixture(Method):
    """Clusters are Gaussians with full covariances, found by online EM in features of pixels; not in the papers.

    Clusters of k-means are round and alike, those of greatest mutual information as even as they can be. These may be long and
    of very uneven size. Training starts from k-means; a step is one of EM with the pixels of its batch, whose rate falls with
    (step + 2)^-0.6: the first one counts for two thirds, since k-means is only a start. There are no gradients; parameters are
    those of the model, and config.frozen keeps weight decay from them too.

    model: what it says of a place is clustered; it is not trained.
    components: 0 clusters the features of the model, which are colours for the model `colours`. Otherwise so many principal
        components of what an encoder says of a place, but not of the whole of what it sees (the mean over its places is taken
        away: over an image, over the crops of training, and over the tiles of large images), beside the colours of the pixel.
        k-means then looks at the components alone, and these have one covariance for all clusters: one of their own would follow
        the images rather than what is in them.
    layout: places of each side, 0 or at least 2, of a map of the colours, or other features, that the training images show there
        on average (`layouts`), which is appended to those of each pixel; 0 for none. It tells the grey of a road from that of a
        house, where road and house differ on average, and says little where images have no up and down. Images must be whole.
    shrinkage: see `Components.from_moments`.
    smoothing: pixels to each side. Each cluster gains up to four nats by its mean probability in this window, the pixel
        itself among it, five times over: the mean field of a Potts model. 0 judges each pixel by itself. For predictions only.
    search: how k-means is done; of the batches that come first only.
    """

    title = 'Gaussian mixture'
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
        if self.layout == 1:
            raise UserError('method.layout is 0 for none, or at least 2 places; found 1')
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
        appearance = image.shape[-1] if self.components else features
        channels = (2 * appearance if self.layout else appearance) + self.components
        extra = {
            BATCH_STATS: {'network': variables.get(BATCH_STATS, {})},
            'projection': Whitening.none(features, self.components) if self.components else (),
            'layout': Layout.none(self.layout, appearance) if self.layout else (),
            'offset': jnp.zeros(channels),
            'scale': jnp.ones(channels),
            'moments': Moments.initial(self.num_clusters, channels),
        }
        return {'network': variables.get('params', {})}, extra

    def forward(self, params: Params, extra: Extra, batch: Batch, *, key, time, part=0):
        """Of a batch in parts each is a step of EM of its own, and the moments go to the mean of where they take them."""
        vectors, counted = self._vectors(params, extra, batch)
        joint = self._mixture(extra).log_joint(vectors)
        memberships = jax.nn.softmax(joint)
        found = Moments.from_vectors(vectors, memberships, counted)
        rate = jnp.where(parallel.total(counted.sum()) > 0, (time.step + 2.0) ** -_FORGETTING, 0)
        outputs = {
            'log_likelihood': jnp.sum(jax.nn.logsumexp(joint, axis=-1) * counted, (1, 2)),
            'shares': jnp.sum(memberships * counted[..., None], (1, 2)),
            'counted': jnp.sum(counted, (1, 2), jnp.float32),
        }
        return outputs, {**extra, 'moments': extra['moments'].moved_towards(found, rate)}

    def objective(self, outputs, batch: Batch, *, time) -> tuple[jax.Array, Metrics]:
        total = jnp.maximum(outputs['counted'].sum(), 1)
        return -outputs['log_likelihood'].sum() / total, clustering.evenness(outputs['shares'].sum(0))

    def refresh(self, params: Params, extra: Extra, batches, *, key, time) -> tuple[Params, Extra]:
        """Before the first step: principal components, from the initial batches of the search; what images show where, from all;
        and k-means of the initial ones."""
        cells_key, pixels_key, search_key = jax.random.split(key, 3)
        initial = list(itertools.islice(batches, self.search.initial_batches))
        extra = {**extra, 'offset': jnp.zeros_like(extra['offset']), 'scale': jnp.ones_like(extra['scale'])}
        if self.components:
            cells = [_sampled_cells(self, params, extra, batch, cells_key) for batch in initial]
            extra = {**extra, 'projection': whitening.find(cells, self.components, whiten=False)}
        if self.layout:
            layout = jax.tree.map(jnp.zeros_like, extra['layout'])
            for batch in itertools.chain(initial, batches):
                layout = _with_batch(self, params, extra, layout, batch)
            extra = {**extra, 'layout': layout}
        blocks = [_sampled_pixels(self, params, extra, batch, pixels_key) for batch in initial]
        vectors, counted = (jnp.concatenate(arrays) for arrays in zip(*blocks, strict=True))
        offset, scale = self._offset_and_scale(Block(vectors, counted))
        vectors = (vectors - offset[None, None]) / scale[None, None]
        looked_at = vectors[..., -self.components :]  # all of them where there are no components
        found = k_means.find([Block(looked_at, counted)], self.num_clusters, self.search.iterations, search_key)
        memberships = jax.nn.one_hot(clustering.nearest(found.centroids, looked_at), self.num_clusters)
        return params, {
            **extra,
            'offset': offset,
            'scale': scale,
            'moments': Moments.from_vectors(vectors, memberships, counted),
        }

    def predict(self, params: Params, extra: Extra, image) -> Outputs:
        vectors, _ = self._vectors(params, extra, {'image': image})
        joint = self._mixture(extra).log_joint(vectors)
        scores = _smoothed(self.to_pixels(joint, *image.shape[1:3]), self.smoothing)
        return Outputs(scores=scores, features=vectors, logits=joint)

    def describe(self, metrics) -> Remark:
        entropy, bound = metrics['entropy'], metrics['entropy_bound']
        advice = 'another seed, fewer clusters or more shrinkage (--config.method.shrinkage)'
        return clustering.remark(f'H(y) {entropy:.3f} of at most {bound:.3f} nats', entropy, bound, advice)

    def _mixture(self, extra: Extra) -> Components:
        full_channels = len(extra['offset']) - self.components
        return Components.from_moments(extra['moments'], self.shrinkage, full_channels)

    def _vectors(self, params: Params, extra: Extra, batch: Batch) -> tuple[Maps, Counted]:
        """What is clustered, centred and scaled, and which of it counts: of cells or, with components, of pixels."""
        image, size = batch['image'], batch['image'].shape[1:3]
        appearance = self._appearance(params, extra, image)
        parts = [appearance]
        if self.layout:
            parts.append(extra['layout'].at(*appearance.shape[1:3], _boxes(batch)))
        if self.components:
            parts.append(self.model.to_pixels(extra['projection'](self._features(params, extra, image)), *size))
        vectors = (jnp.concatenate(parts, axis=-1) - extra['offset'][None, None, None]) / extra['scale'][None, None, None]
        return vectors, self._counted(batch, appearance)

    def _appearance(self, params: Params, extra: Extra, image) -> Maps:
        """Colours of pixels beside components, and features of cells without."""
        return inputs.to_unit(image) if self.components else self._features(params, extra, image)

    def _features(self, params: Params, extra: Extra, image) -> Maps:
        variables = {'params': params['network'], BATCH_STATS: extra[BATCH_STATS]['network']}
        found = self.model.apply(variables, inputs.model_input(self.model, image))['features']
        found = jax.lax.stop_gradient(found).astype(jnp.float32)
        return found - found.mean((1, 2), keepdims=True) if self.components else found

    def _counted(self, batch: Batch, maps: Maps) -> Counted:
        return void.at_cells(batch, *maps.shape[1:3], self.first_cell)

    def _offset_and_scale(self, block: Block) -> tuple[Float[Array, 'channels'], Float[Array, 'channels']]:
        """The mean of each channel, and one standard deviation for all of them, that of the appearance, so that proportions stay.
        Components have both already."""
        channels = block.vectors.shape[-1]
        full = channels - self.components
        weights = block.counted[..., None] / jnp.maximum(block.counted.sum(), 1)
        offset = jnp.sum(block.vectors * weights, (0, 1))
        variances = jnp.sum((block.vectors - offset[None, None]) ** 2 * weights, (0, 1))
        deviation = jnp.maximum(jnp.sqrt(variances[: full // 2 if self.layout else full].mean()), 1e-6)
        projected = np.arange(channels) >= full
        return jnp.where(projected, 0, offset), jnp.where(projected, 1, deviation)


def _boxes(batch: Batch) -> Boxes:
    return batch['box'] if 'box' in batch else layouts.whole(batch['image'].shape[0])


@functools.partial(jax.jit, static_argnums=0)
def _sampled_cells(method: Mixture, params: Params, extra: Extra, batch: Batch, key) -> Block:
    """What the model says of places of its maps."""
    maps = method._features(params, extra, batch['image'])
    counted = void.at_cells(batch, *maps.shape[1:3], method.model.first_cell)
    return method.search.sampled(maps, counted, inputs.keys_of(batch['image'], key))


@functools.partial(jax.jit, static_argnums=0)
def _with_batch(method: Mixture, params: Params, extra: Extra, layout: Layout, batch: Batch) -> Layout:
    maps = method._appearance(params, extra, batch['image'])
    return layout.with_maps(maps, method._counted(batch, maps), _boxes(batch))


@functools.partial(jax.jit, static_argnums=0)
def _sampled_pixels(method: Mixture, params: Params, extra: Extra, batch: Batch, key) -> Block:
    """What is clustered."""
    vectors, counted = method._vectors(params, extra, batch)
    return method.search.sampled(vectors, counted, inputs.keys_of(batch['image'], key))


def _smoothed(joint: Maps, radius: int) -> Maps:
    """Probabilities of clusters; see `Mixture.smoothing`."""
    scores = jax.nn.softmax(joint)
    if not radius:
        return scores
    rows, columns = (_window(length, radius) for length in scores.shape[1:3])
    for _ in range(_ROUNDS):
        around = box_filter(scores, radius) / rows[None, :, None, None] / columns[None, None, :, None]
        scores = jax.nn.softmax(joint + _COUPLING * around)
    return scores


def _window(length: int, radius: int) -> Float[Array, '{length}']:
    """How many pixels of a side are at most so far from each of them."""
    places = jnp.arange(length)
    return (jnp.minimum(places + radius, length - 1) - jnp.maximum(places - radius, 0) + 1).astype(jnp.float32)


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
    return Mixture(
        make_model(heads={}),
        num_clusters,
        components=components,
        layout=layout,
        shrinkage=shrinkage,
        smoothing=smoothing,
        search=search,
    )
